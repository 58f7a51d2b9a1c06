"""Words made harmless: what a reader of markdown sees has no image, no tag and no link but to an allowed host."""

import re
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from lib.agents.markdown import read_markdown

GOOD = frozenset({"good.example"})


def safe(source: str) -> str:
    """The markdown made of `source`, with links to good.example allowed."""
    return read_markdown(source, GOOD).markdown


def plain(source: str) -> str:
    """The plain text made of `source`."""
    return read_markdown(source, GOOD).text


@pytest.mark.parametrize(
    ("source", "markdown", "text"),
    [
        ("**b** and *s* and __b__ and _s_", "**b** and *s* and **b** and *s*", "b and s and b and s"),
        ("a `code` b", "a `code` b", "a code b"),
        ("one\ntwo", "one\ntwo", "one\ntwo"),
        ("one  \ntwo", "one  \ntwo", "one\ntwo"),
        ("snake_case, 5 < 6, 7 <= 8, 3 > 2, -5 %", "snake_case, 5 < 6, 7 <= 8, 3 > 2, -5 %", None),
        (r"5 \* 3, \_x\_, ~7", r"5 \* 3, \_x\_, \~7", "5 * 3, _x_, ~7"),
        ("a [b] c", "a &#91;b&#93; c", "a [b] c"),
        ("R&amp;D, &amp;lt; and A & B", "R&D, &amp;lt; and A & B", "R&D, &lt; and A & B"),
        ("C# and issue \\#1", "C# and issue \\#1", "C# and issue #1"),
    ],
    ids=["emphasis", "code", "soft-break", "hard-break", "harmless-marks", "marks", "brackets", "entities", "hash"],
)
def test_words_keep_their_meaning(source: str, markdown: str, text: str | None) -> None:
    """What is harmless stays as it reads; text never turns into marks."""
    assert safe(source) == markdown
    assert plain(source) == (text or source)


@pytest.mark.parametrize(
    ("source", "markdown"),
    [
        ("\\- no list", "\\- no list"),
        ("\\+ no list", "\\+ no list"),
        ("2024\\. No list", "2024\\. No list"),
        ("7\\) No list", "7\\) No list"),
        ("\\> no quotation", "\\> no quotation"),
        ("\\# no heading", "\\# no heading"),
        ("a\n\\---", "a\n\\---"),
        ("a\n\\===", "a\n\\==="),
        ("&#32;&#32;&#32;&#32;no code", "no code"),
        ("a&#10;&#10;- no list", "a  - no list"),
        ("\\~~~ no fence", "\\~\\~\\~ no fence"),
        ("\\``` no fence", "&#96;&#96;&#96; no fence"),
        ("a | b\n\\--- | ---", "a &#124; b\n\\--- &#124; ---"),
    ],
)
def test_text_begins_no_block(source: str, markdown: str) -> None:
    """A line of text stays a line of text, whatever it begins with."""
    assert safe(source) == markdown
    assert safe(markdown) == markdown


@pytest.mark.parametrize(
    ("source", "markdown"),
    [
        ("*<b> x</b>*", "\\* x*"),
        ("**<b></b>**", "\\*\\*\\*\\*"),
        ("*a\n<b></b>* x", "*a\n\\* x"),
        ("**b** *c* <b></b>**d**", "**b** *c* **d**"),
    ],
)
def test_emphasis_that_is_none_any_more_begins_no_list(source: str, markdown: str) -> None:
    """Marks whose words or tags are gone are stars, where a reader would take them for a bullet or a rule."""
    assert safe(source) == markdown


@pytest.mark.parametrize(
    ("source", "markdown", "text"),
    [
        ("![Chart](https://evil.example/x.png)", "Chart", "Chart"),
        ("![Chart](https://good.example/x.png)", "Chart", "Chart"),
        ("![a](data:image/png;base64,aGk=)", "a", "a"),
        ("![a][ref]\n\n[ref]: https://evil.example/x.png", "a", "a"),
        ("[![a](https://evil.example/x)](https://good.example/y)", "[a](https://good.example/y)", "a"),
        ("![<img src=x onerror=1> a<br>b](u)", "ab", "ab"),
        ("![a [b](https://evil.example/x) ![c `d`](https://evil.example/y)\n*e*](u)", "a b c d e", "a b c d e"),
        ("![![![](u)](u)](u)", "", ""),
        ("\\![a](https://good.example/y)", "&#33;[a](https://good.example/y)", "!a"),
        ("a!<b></b>[a](https://good.example/y)", "a&#33;[a](https://good.example/y)", "a!a"),
        ("a\\![b](https://evil.example/y)", "a!b (`https://evil.example/y`)", "a!b (https://evil.example/y)"),
    ],
    ids=[
        "foreign",
        "allowed-host",
        "data",
        "reference",
        "in-a-link",
        "with-tags",
        "with-images",
        "nested",
        "made-of-a-link",
        "made-by-a-tag",
        "no-link",
    ],
)
def test_an_image_leaves_its_description(source: str, markdown: str, text: str) -> None:
    """No image survives, not even of an allowed host, and none comes about."""
    assert (safe(source), plain(source)) == (markdown, text)


@pytest.mark.parametrize(
    ("source", "markdown"),
    [
        ("a <b>bold</b> c", "a bold c"),
        ("a<br>b<BR/>c", "a b c"),
        ("<script>alert(1)</script>", "alert(1)"),
        ("<p>The answer is 42.</p>", "The answer is 42."),
        ("<div>\n\n**x**\n\n</div>", "**x**"),
        ("<!-- hidden -->seen", "seen"),
        ("a <img src=x onerror=alert(1)> b", "a  b"),
        ("<scr<b></b>ipt>", "&lt;script>"),
        ("<<b></b>script>", "&lt;script>"),
        ("a &lt;script&gt; b", "a &lt;script> b"),
        ("a \\<script> b", "a &lt;script> b"),
        ("<", "&lt;"),
        ("<iframe src=//evil.example", "&lt;iframe src=`//evil.example`"),
        ("a <?php x ?> b <![CDATA[x]]> c", "a  b  c"),
    ],
)
def test_a_tag_leaves_what_it_wraps(source: str, markdown: str) -> None:
    """Tags vanish, the words around and within them stay, and none comes about by what is removed."""
    assert safe(source) == markdown


@pytest.mark.parametrize(
    ("source", "markdown", "text"),
    [
        ("[a](https://good.example/x)", "[a](https://good.example/x)", "a"),
        ("[a](<https://good.example/x y> 't')", "[a](https://good.example/x%20y)", "a"),
        ("[a](https://good.example/?a=(1)&b=2)", "[a](https://good.example/?a=%281%29&amp;b=2)", "a"),
        ("[**a** `b`](https://good.example)", "[**a** `b`](https://good.example)", "a b"),
        ("[](https://good.example)", "[link](https://good.example)", ""),
        ("[a]\n\n[a]: https://good.example", "[a](https://good.example)", "a"),
        ("[a \\[b\\]](https://good.example)", "[a &#91;b&#93;](https://good.example)", "a [b]"),
        ("[a](https://evil.example/x)", "a (`https://evil.example/x`)", "a (https://evil.example/x)"),
        ("[a](http://good.example/x)", "a (`http://good.example/x`)", "a (http://good.example/x)"),
        ("[a](https://good.example:444/)", "a (`https://good.example:444/`)", "a (https://good.example:444/)"),
        ("[a](https://u@good.example)", "a (`https://u@good.example`)", "a (https://u@good.example)"),
        ("[a](https://good.example@evil.example)", "a (`https://good.example@evil.example`)", None),
        ("[a](https://evil.example/good.example)", "a (`https://evil.example/good.example`)", None),
        ("[a](//good.example)", "a", "a"),
        ("[a](/x)", "a", "a"),
        ("[a](mailto:a@good.example)", "a", "a"),
        ("[a](https://[good.example)", "a (`https://%5Bgood.example`)", None),
        ("[a](https://GOOD.example)", "a (`https://GOOD.example`)", None),
        ("[a](https://good.example.)", "a (`https://good.example`.)", None),
        ("<https://evil.example/x>", "`https://evil.example/x`", "https://evil.example/x"),
        ("[https://good.example](https://evil.example)", "`https://good.example` (`https://evil.example`)", None),
        ("<a@evil.example>", "`a@evil.example`", "a@evil.example"),
    ],
)
def test_a_link_stays_one_to_allowed_hosts_alone(source: str, markdown: str, text: str | None) -> None:
    """Only https to exactly an allowed host is a link; any other shows where it would have led."""
    assert safe(source) == markdown
    assert text is None or plain(source) == text


HIDDEN = [
    *(
        "\xad",
        "\u034f",
        "\u061c",
        "\u115f",
        "\u17b4",
        "\u180b",
        "\u180e",
        "\u200b",
        "\u200e",
        "\u200f",
        "\u202e",
        "\u2060",
    ),
    *(
        "\u206a",
        "\u206f",
        "\u3164",
        "\ufe00",
        "\ufe0f",
        "\ufeff",
        "\uffa0",
        "\ufff9",
        "\ufffb",
        "\ufdd0",
        "\ufffe",
        "\uffff",
    ),
    *("\U0001bca0", "\U0001d173", "\U0001fffe", "\U0010ffff", "\U000e0001", "\U000e0041", "\U000e0080", "\U000e01f0"),
]


@pytest.mark.parametrize("hidden", HIDDEN, ids=ascii)
def test_no_form_of_words_holds_what_nobody_sees(hidden: str) -> None:
    """Raw or spelled out, between tags, in a link, a heading, a cell or an image."""
    for one in (hidden, f"&#x{ord(hidden):x};", f"&#{ord(hidden)};", f"<b>{hidden}</b>"):
        for around in ("a{}b", "# a{}b", "*a{}b*", "[a{}b](https://good.example)", "![a{}b](u)", "|a{}b|\n|-|"):
            source = around.format(one)
            assert hidden not in safe(source)
            assert plain(source).replace("\ufffd", "") == "ab"  # as which a reader may show what is no character
    assert safe(f"`a{hidden}b`") == "`ab`"
    assert safe(f"```\na{hidden}b\n```") == "```\nab\n```"


@pytest.mark.parametrize("end", ["\n", "\r", "\t", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"], ids=ascii)
def test_words_stay_on_their_line(end: str) -> None:
    """A reference to the end of a line is a space in both forms."""
    source = f"a&#{ord(end)};b"
    assert plain(source) == safe(source)
    assert plain(source) in {"a b", "a\ufffdb"}


@pytest.mark.parametrize("scheme", ["javascript", "JavaScript", "vbscript"])
def test_no_script_address_is_left(scheme: str) -> None:
    """Such an address is neither a link nor left as it was, in whatever way it came."""
    for source in (
        f"[a]({scheme}:alert(1))",
        f"<{scheme}:alert(1)>",
        f"[a]: {scheme}:x\n\n[a] {scheme}:y",
        f"{scheme[:4]}<b></b>{scheme[4:]}:x",
    ):
        assert f"{scheme}:".lower() not in safe(source).lower()


@pytest.mark.parametrize(
    ("source", "markdown"),
    [
        ("see https://evil.example/a?b=c.", "see `https://evil.example/a?b=c`."),
        ("(http://evil.example)", "(`http://evil.example`)"),
        ("www.evil.example and FTP://evil.example", "`www.evil.example` and `FTP://evil.example`"),
        ("https://good.example/x", "`https://good.example/x`"),
        ("https://good.example/`<b>`", "`https://good.example/` `<b>`"),
        ("``https://evil.example/`x``", "`https://evil.example/`&#96;x"),
        ("write to a.b+c@evil.example.", "write to `a.b+c@evil.example`."),
        ("mailto:a@evil.example, xmpp:a@evil.example", "`mailto:a@evil.example`, `xmpp:a@evil.example`"),
        ("data:text/html;base64,PHM+ or file:///etc/passwd", "`data:text/html;base64,PHM+` or `file:///etc/passwd`"),
        ("ssh://evil.example and //evil.example/x", "`ssh://evil.example` and `//evil.example/x`"),
        ("evil.example/?q=1, evil.example:8080/x, evil.com", "`evil.example/?q=1`, `evil.example:8080/x`, `evil.com`"),
        ("1.2.3.4/x, \\;@1.2.3.4, xn--e1aybc.xn--p1ai", "`1.2.3.4/x`, ;`@1.2.3.4`, `xn--e1aybc.xn--p1ai`"),
        ("$evil.com .$evil.com a..$evil.com", "`$evil.com` `.$evil.com` `a..$evil.com`"),
        ("evil.com:0a.de b@c.de//x", "`evil.com:0` `a.de` `b@c.de` `//x`"),
        ("b@c.de&#8203;//x www.*evil*.example", "`b@c.de` `//x` `www.`*evil*.example"),
        ("[a@evil.example](https://good.example/)", "[`a@evil.example`](https://good.example/)"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_an_address_in_the_text_becomes_code(source: str, markdown: str) -> None:
    """Readers link bare addresses and take what follows into the link, were it the mark of a code span."""
    assert safe(source) == markdown


@pytest.mark.parametrize(
    "text",
    [
        "Sales of 1.5 %, 3.50 and 1.234,56 in v1.2 of 2024/25 and/or Q1.2026",
        "e.g. this, d.h. jenes, z.B. dieses, u.a. etc. Inc./Ltd. inkl./exkl.",
        "Is it Mr.Smith? Total:5 at 12:30. The ratio is 3:4 (km/h) // no comment",
        "sales.amount by dbo.Product.Category, data: none, profile:x, @home, 5 @ 3",
        "売上は100です。東京は「50」でした。",
    ],
)
def test_words_that_only_look_like_addresses_stay_words(text: str) -> None:
    """What no reader links is left as it reads best."""
    assert (safe(text), plain(text)) == (text, text)


@pytest.mark.parametrize(
    ("source", "markdown"),
    [
        ("`` a`b ``", "a&#96;b"),
        ("`<script>`", "`<script>`"),
        ("`a`<b></b>``<img src=x>``", "`a` `<img src=x>`"),
        ("`` ` ``", "&#96;"),
    ],
    ids=["backtick", "tag-in-code", "spans-that-touch", "lone-backtick"],
)
def test_inline_code_cannot_be_broken_out_of(source: str, markdown: str) -> None:
    """The marks of a span are single and never touch, so that nothing within can be read as anything else."""
    assert safe(source) == markdown


FRAGMENTS = [
    *(
        "`",
        "``",
        "```",
        "~~~",
        "~~",
        "<",
        ">",
        "!",
        "![",
        "[",
        "]",
        "(",
        ")",
        "](",
        "]:",
        "|",
        "*",
        "**",
        "_",
        "\\",
        "&",
    ),
    *("#", "&lt;", "&#33;", "&#10;", "&#96;", "&#91;", "<br>", "<b>", "</b>", "<!--", "-->", "a", "b", "{", "\u202e"),
    *("script", "javascript:", "](javascript:x)", "<img src=//evil.example ", "<https://evil.example>"),
    *("](https://evil.example/x)", "](https://good.example/y)", "[a]:https://evil.example", "www.evil.example"),
    *("https://evil.example/x", "https://good.example/y", "\n", "\n\n", " ", "    ", "- ", "1. ", "> ", "\t", "---"),
    *("===", "| a | b |\n|---|---|\n| c | d |\n", "\n```sql\n", "\n```\n"),
    *(
        "@",
        "//",
        "http:",
        "mailto:",
        "xmpp:",
        "data:",
        "file:",
        "a@evil.example",
        "evil.example",
        ".com",
        "/?q=1",
        ".",
        ":80",
    ),
    *("999999999. ", "999999998) ", "0. ", "2) ", "+ ", "* ", "* * *", "<b></b>", "\n<b></b>", "\n\n\n   "),
]
SOURCES = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join)


LIVE = "![x](https://evil.example/p)"
CODE = st.lists(
    st.sampled_from([LIVE, "", "", "a", "```", "~~~", "> a", "- a", "    x", f"\t{LIVE}", "</b>", "<img src=x>"]),
    max_size=5,
).map("\n".join)
FENCED = st.builds(
    lambda fence, name, code: f"{fence}{name}\n{code}\n{fence}",
    st.sampled_from(["```", "~~~", "````"]),
    st.sampled_from(["", "sql", "é", "a b"]),
    CODE,
)
LEAVES = st.sampled_from(
    [
        *(
            "a",
            "a\nb",
            "# h",
            "#",
            "***",
            "- - -",
            "a  \nb",
            "`c`",
            "",
            "-",
            "1.",
            "a\n---",
            "a\n===",
            "\\- a",
            "|a|\n|-|\n|b|",
        ),
        *(
            "*<b> x</b>*",
            "**<b></b> x**",
            "**<b></b>**",
            "*a\n<b></b>* x",
            "a\n<b></b>- x",
            "a\n<b></b>```",
            "`|a`\n<b></b>:-",
        ),
        *(
            "<div>\n" + LIVE + "\n</div>",
            "<pre>",
            "<!--\n\na",
            "[a]: https://evil.example\n[a]",
            f"    {LIVE}\n\n    b",
        ),
    ]
)


def quoted(block: str) -> str:
    """`block` as a quotation."""
    return "\n".join(f"> {line}" for line in block.split("\n"))


def listed(mark: str, items: list[str]) -> str:
    """`items` as a list."""
    lines = (item.replace("\n", "\n" + " " * len(mark)) for item in items)
    return "\n".join(f"{mark}{item}" for item in lines)


LIST_MARKS = st.sampled_from(
    ["- ", "* ", "+ ", "-   ", "0. ", "1. ", "2) ", "10. ", "99999998. ", "999999999. ", "999999998) "]
)
DOCUMENTS = st.recursive(
    LEAVES | FENCED,
    lambda inner: (
        inner.map(quoted)
        | st.builds(listed, LIST_MARKS, st.lists(inner, min_size=1, max_size=3))
        | st.builds(str.join, st.sampled_from(["\n", "\n\n"]), st.lists(inner, min_size=2, max_size=3))
    ),
    max_leaves=8,
)
"""Blocks in blocks, with code that would do something if it were none."""


LINKED = re.compile(
    r"(?<![^\W_])(?:[a-z][a-z0-9+.-]*://|www\.|mailto:|xmpp:|data:|file:)[^\W_]"
    r"|(?<![^\W_])[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|example[/?])(?![\w-])"
    r"|[\w+.-]@[a-z0-9-]+(?:\.[a-z0-9-]+)+|(?<![\w:/])//[^\W_]",
    re.IGNORECASE,
)
"""What GitHub's readers, and those that go by linkify-it, link in plain text."""


def tokens_of(markdown: str) -> Iterator[Token]:
    """What a reader sees who lets everything through: raw HTML, tables and struck words."""

    def flat(tokens: Iterable[Token]) -> Iterator[Token]:
        for token in tokens:
            yield token
            yield from flat(token.children or ())

    return flat(MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown))


@given(source=SOURCES | DOCUMENTS)
@example(source=listed("999999999. ", ["a", f"```\n{LIVE}\n\nmore\n```"]))
@example(source=listed("999999998) ", ["a", "b", "```\n<img src=x>\n\nmore\n```"]))
@example(source="- + *\n\n    * ```\n      <img src=x>\n\n      more\n      ```")
def test_no_reader_sees_an_image_a_tag_or_a_foreign_link(source: str) -> None:
    """Whatever is put in, a reader of CommonMark finds nothing in what comes out that fetches or runs."""
    for token in tokens_of(safe(source)):
        assert token.type not in {"image", "html_inline", "html_block"}
        assert token.type != "link_open" or str(token.attrs["href"]).startswith("https://good.example")
        assert token.type != "text" or not LINKED.search(token.content)


@given(source=SOURCES.map(lambda source: re.sub("[`~\t]|    ", "", source)))
def test_no_bytes_of_an_image_a_tag_or_a_script_are_left(source: str) -> None:
    """Outside of code not even the letters of them come out, so that a careless reader is safe as well."""
    markdown = re.sub("`[^`]*`", "", safe(source))
    assert "![" not in markdown
    assert not re.search("<[a-zA-Z/!?]", markdown)
    assert "javascript:" not in markdown.lower()
    assert not re.search("[\u202a-\u202e]", markdown)


@given(text=st.text())
def test_text_reads_as_it_was(text: str) -> None:
    """Escaped, a text without marks of its own is the same text to the next reader."""
    words = re.sub(r"[^\w.,!?<>#|-]+", " ", text.replace("_", " "), flags=re.ASCII).strip()
    once = read_markdown(re.sub(r"([<>#|.!-])", r"\\\1", words))
    assert once.text == words
    assert read_markdown(once.markdown).text == words
