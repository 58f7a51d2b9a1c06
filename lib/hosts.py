"""What a host's name tells: whether it is this machine, and whether browsers take it for one site with strangers'."""

import re

_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")
_AZURE = (
    "appserviceenvironment.net", "azure-api.cn", "azure-api.net", "azure-api.us", "azurecontainerapps.cn",
    "azurecontainerapps.io", "azurecontainerapps.us", "azureedge.cn", "azureedge.net", "azureedge.us", "azurefd.cn",
    "azurefd.net", "azurefd.us", "azurestaticapps.net", "azurewebsites.net", "azurewebsites.us", "chinacloudapp.cn",
    "chinacloudsites.cn", "cloudapp.azure.com", "cloudapp.chinacloudapi.cn", "cloudapp.net",
    "cloudapp.usgovcloudapi.net", "devtunnels.ms", "trafficmanager.cn", "trafficmanager.net", "usgovcloudapp.net",
    "usgovtrafficmanager.net",
)  # fmt: skip
"""Where Azure gives out names to everybody."""
_SITE_OF_ITS_OWN = re.compile(
    r"[^.]+\.(azure-api\.(net|us)|azureedge\.net|(([1-7]|centralus|eastasia|eastus2|westeurope|westus2)\.)?"
    r"azurestaticapps\.net|([a-z0-9]+-01\.|[^.]+\.p\.)?azurewebsites\.net|azurewebsites\.us|cloudapp\.net|"
    r"trafficmanager\.net|usgovcloudapp\.net|usgovtrafficmanager\.net)"
)
"""Which of these names are right below an entry of the Public Suffix List (https://publicsuffix.org, version of
2026-10-22). It lists azurefd.net too, but the endpoints are one label further down: all of z01.azurefd.net is one
site. Whoever looks like nothing on the list is taken to share."""


def is_loopback(host: str) -> bool:
    """Whether `host`, in lower case and without brackets or port, is this machine by name or number.

    (RFC 6761 section 6.3, RFC 5735, RFC 4291.)
    """
    return _LOOPBACK.fullmatch(host) is not None


def shares_its_site(host: str) -> bool:
    """Whether `host`, in lower case, is a name of Azure's that browsers take for one site with other customers' names.

    There a stranger's page counts as same-site: SameSite keeps it from nothing
    (https://html.spec.whatwg.org/multipage/browsers.html#same-site).
    """
    return host.endswith(tuple(f".{suffix}" for suffix in _AZURE)) and not _SITE_OF_ITS_OWN.fullmatch(host)
