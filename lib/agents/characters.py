"""Characters that show nothing, or are none: what a text can say to a machine while no person sees it.

The sets are Unicode's own: controls, Default_Ignorable_Code_Point (DerivedCoreProperties.txt), format characters
(category Cf) and noncharacters (https://www.unicode.org/versions/latest, section 23.7). Not among them are the joiners
that scripts and emoji need, the Arabic and Syriac signs that Cf holds though one sees them, and white space.
"""

import re
import unicodedata

NONCHARACTERS = "\ufdd0-\ufdef" + "".join(
    f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000)
)
"""For a set of a regular expression: what is promised never to be a character, in any plane."""
JOINERS = "\u200c\u200d"

_EMOJI = "\xa9\xae\u203c\u2049\u2122\u2139\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff"
_KEYS = "#*0-9"
_SELECTORS = "\ufe0e\ufe0f"
_HIDDEN = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # controls, but for those that are white space
    "\xad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    "\u061c\u200e\u200f\u202a-\u202e"  # marks and overrides of writing direction; more of them are above
    "\ud800-\udfff"  # surrogates
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # layout of hieroglyphs, shorthand and music
    "\U000e0000-\U000e0fff"  # tags, and supplementary variation selectors
    f"{NONCHARACTERS}"
)
UNSEEN = re.compile(
    "[^\t-\r -~]"  # the rest of ASCII is seen: most texts are passed over by this alone
    f"(?:(?<=[{_HIDDEN}])"
    f"|(?<=[{_SELECTORS}])(?<![{_EMOJI}{_KEYS}].)"  # which choose between the two forms of an emoji
    f"|(?<=[{_KEYS}][{_SELECTORS}])(?!\u20e3))",  # or belong to a key
    re.DOTALL,
)
"""What nobody sees; a reference such as `&#x202e;` brings it back when a text is read."""

_NOTHING = re.compile(f"[{_HIDDEN}{JOINERS}\u2800]")
_SHOWN = frozenset("LNPS")


def shows_nothing(character: str) -> bool:
    """Whether `character`, which is no white space, takes part in a text without being seen in it."""
    return _NOTHING.match(character) is not None


def is_mark(character: str) -> bool:
    """Whether `character` stands on, in or around another one."""
    return unicodedata.category(character).startswith("M")


def is_visible(text: str) -> bool:
    """Whether anything of `text` can be seen: a letter, a digit, a sign or a symbol."""
    return any(unicodedata.category(one)[0] in _SHOWN and not shows_nothing(one) for one in text)
