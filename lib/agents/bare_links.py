"""Addresses in plain text, of which a reader of markdown makes links by itself, whatever we wrote around them.

GitHub's readers link addresses with a scheme, those that begin with `www.`, and e-mail
(https://github.github.com/gfm/#autolinks-extension-). Most others go by linkify-it, which also links hosts of known
top-level domains and what begins with `//`. Some link every host that has a path. What is found here is all of that,
and more rather than less: as code it reads the same.
"""

import re
from collections.abc import Iterator

_STOP = r"\s<>`|"
_REST = rf"[^{_STOP}]*[^{_STOP}.,;:!?'\")\]}}*_]"  # without the marks that end a sentence or an emphasis
_APART = (
    r"\s!\"#%&'()*,/:;<>?@\[\\\]`{|}"
    "\xab\xbb\u2013\u2014\u2018-\u201f\u2026\u3001\u3002\u300c\u300d\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f"
)
_LABEL = rf"[^{_APART}.]++"  # of a host: whatever separates no words
_HOST = rf"(?<![^{_APART}])\.*+(?:{_LABEL}\.++)+"
_KNOWN = (
    r"(?:[a-z]{2}|aero|app|asia|biz|cloud|com|coop|dev|edu|gov|info|mil|mobi|museum|name|net|online|org|page|pro|shop"
    r"|site|web|xxx|xyz|\u0440\u0444|xn--[a-z0-9-]+)(?![^\W_]|-)"
)
_NUMBERS = r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}"
_PORT = r"(?::[0-9]+)?"
_PATH = rf"(?:[/?#]{_REST}|/)"
_SCHEMES = r"blob|data|file|intent|magnet|mailto|ms-[a-z-]{1,20}|sips?|sms|tel|view-source|xmpp"

_SIGN = re.compile("[.:/@]")
"""There is one in every address."""
_BARE_LINK = re.compile(
    rf"(?<![\w+.-])[\w+.-]*+://(?:{_REST})?"
    rf"|(?<![^\W_])www\.(?:{_REST})?"
    rf"|(?<![^\W_])(?:{_SCHEMES}):{_REST}"
    rf"|(?<![\w+.-])[\w+.-]++@[\w-]++(?:\.[\w-]++)+"
    rf"|{_HOST}(?:[^\W\d_]{{2,}}{_PORT}{_PATH}|{_KNOWN}(?:\.{_LABEL})*{_PORT}{_PATH}?)"
    rf"|@{_NUMBERS}|(?<![\w.]){_NUMBERS}{_PORT}{_PATH}"
    rf"|(?<![\w:/])//(?=[^{_STOP}/]){_REST}",
    re.IGNORECASE,
)


def split_links(text: str) -> Iterator[tuple[str, str]]:
    """Each address in `text`, behind the text before it; at last the text behind all, and no address.

    What follows an address is looked at anew: next to code it stands as at the beginning of a text.
    """
    while _SIGN.search(text) and (found := _BARE_LINK.search(text)):
        yield text[: found.start()], found[0]
        text = text[found.end() :]
    yield text, ""
