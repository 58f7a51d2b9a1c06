"""Rules for what a host's name tells."""

import pytest

from lib.hosts import is_loopback, shares_its_site


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "::1"])
def test_this_machine_is_known_by_name_and_number(host: str) -> None:
    """RFC 6761 and the loopback range."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["", "localhost.evil.example", "127.0.0.1.evil.example", "128.0.0.1", "0.0.0.0", "::", "xlocalhost"]
)
def test_another_host_is_not_this_machine(host: str) -> None:
    """Look-alikes are not taken in."""
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "contoso-a1b2.z01.azurefd.net",
        "contoso-a1b2.a02.azurefd.net",
        "contoso.azurefd.net",
        "contoso.azurefd.us",
        "contoso.azurefd.cn",
        "contoso.z01.azureedge.net",
        "contoso.trafficmanager.cn",
        "contoso.regional.azure-api.net",
        "contoso.azure-api.cn",
        "contoso.westeurope.cloudapp.azure.com",
        "contoso.calmsea-1a2b.westeurope.azurecontainerapps.io",
        "calm-sea-0a1b.8.azurestaticapps.net",
        "calm-sea-0a1b-1.westeurope.5.azurestaticapps.net",
        "contoso-a1b2.westeurope-02.azurewebsites.net",
        "contoso.scm.azurewebsites.net",
        "contoso.ase.appserviceenvironment.net",
        "contoso.chinacloudsites.cn",
        "a1b2c3-7071.euw.devtunnels.ms",
    ],
)
def test_a_name_below_no_public_suffix_shares_its_site(host: str) -> None:
    """Browsers take it for one site with every other customer's name there."""
    assert shares_its_site(host)


@pytest.mark.parametrize(
    "host",
    [
        "ask.contoso.com",
        "contoso.azurewebsites.net",
        "contoso-a1b2.westeurope-01.azurewebsites.net",
        "contoso.environment.p.azurewebsites.net",
        "contoso.azurewebsites.us",
        "contoso.azureedge.net",
        "contoso.trafficmanager.net",
        "contoso.azure-api.net",
        "contoso.cloudapp.net",
        "calm-sea-0a1b.azurestaticapps.net",
        "calm-sea-0a1b.7.azurestaticapps.net",
        "calm-sea-0a1b.westeurope.azurestaticapps.net",
        "z01.azurefd.net.contoso.com",
        "evilazurefd.net",
        "localhost",
        "",
    ],
)
def test_a_name_right_below_a_public_suffix_is_a_site_of_its_own(host: str) -> None:
    """So is a domain of one's own, whatever it looks like."""
    assert not shares_its_site(host)
