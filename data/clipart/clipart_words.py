"""Read and clean the words of a clip-art picture: title, keywords, creator, licence."""

import contextlib
import html
import re
import xml.etree.ElementTree as ElementTree

# Titles that name a collection instead of a picture: the file's own name says more.
COLLECTION_TITLES = {
    "Australian Maps", "Architetto Francesco Rollandin", "C Rollandin Francesco", "Etiquette Icons",
    "Homes Clipart", "Lemon SVG theme", "Mirjam Meijer", "PC connectors", "R15 General",
    "R16 sibmission", "Road Signs", "SVG Road Signs", "Sallite", "Various Cliparts", "advertising",
    "balloons-aj", "blueberry - iconset", "moons", "Diner Menu collection",
}  # fmt: skip
COLLECTION_PREFIXES = ("Clipart by Nicu Buculei", "Menu Clip Art Collection")
# One hand, several spellings: a split by creator must keep them together.
CREATOR_ALIASES = {
    "A.J. Ashton": "AJ Ashton", "Andrew Fitzsimon": "Andy Fitzsimon", "Anton Yu": "anton yu",
    "Architetto Francesco Rollandin": "Francesco Rollandin", "Bruno Coudoin": "Bruno coudoin",
    "Cedric": "Cédric bosdonnat", "Dan Gerhrads": "Dan Gerhards",
    "Galion GBC": "Galion Public Library",
    "Jean-VIctor Balin": "Jean-Victor Balin", "Jean-Vitor Balin": "Jean-Victor Balin",
    "Jonadab": "Nathan Eady", "Jonadab the Unsightly One": "Nathan Eady", "Jurgen": "jurgen",
    "Mo": "mo", "Nathan Eady et al.": "Nathan Eady", "Nicolas": "Nicolas Gagliani",
    "Nubldoff": "Nurbldoff", "Nurbldoff, KSC": "Nurbldoff",
    "Petri Lummemaki": "Petri Lummemäki", "Ralf Stephan": "ralf",
    "Rollandin Francesco": "Francesco Rollandin", "Sek": "sek", "TLarson": "Tlarson",
    "Sergio Luiz Araujo Silva": "Sérgio Luiz Araújo Silva", "Uliphant": "uliphant",
    "Utrescu": "utrescu", "PeterM": "peterm", "cedric bosdonnat": "Cédric bosdonnat",
    "Jean-Maurice Le Clech": "Jean Maurice Le Clec", "rgolan": "Ron Golan",
}  # fmt: skip
UNKNOWN_CREATORS = {"", "anonymous", "none", "unknown", "u", "as", "c", "c..", "c..."}
DROPPED_KEYWORDS = {"", "11", "clipart", "hash", "openclipart", "sexy", "unsorted", "webpage"}
MAKERS = {"aj", "bb", "ganson", "r", "rpswb", "v"}  # what file names end in: initials, versions
# Titles by one creator that differ in these words alone are variants of one drawing.
VARIANT_WORDS = {
    "aqua", "black", "blue", "brown", "color", "colour", "cyan", "gray", "green", "grey", "magenta",
    "orange", "outline", "pink", "purple", "red", "seagreen", "shaded", "silver", "violet", "white",
    "yellow", "and", "b", "w", "b&w", "bw", "bn",
}  # fmt: skip


def clean_text(text):
    """Undo HTML entities and UTF-8 read as Latin-1, and squeeze white space."""
    text = html.unescape(html.unescape(text or ""))
    with contextlib.suppress(UnicodeError):
        text = text.encode("latin-1").decode("utf-8")
    return " ".join(text.split())


def split_camel_case(text):
    """BasseTemperature -> Basse Temperature."""
    return re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", " ", text)


def title_from_name(name, creator=""):
    """Read a title off a file name: "tasmania-outline" -> "tasmania outline"."""
    words = re.sub(r"[\d_\-]+", " ", split_camel_case(name)).split()
    makers = {part.lower() for part in re.findall(r"\w+", creator)} | MAKERS
    while len(words) > 1 and words[-1].lower() in makers:
        words.pop()
    while len(words) > 1 and words[0].lower() in {"bb", "gnome"}:
        words.pop(0)
    return " ".join(words)


def clean_title(title, name, creator=""):
    """The title of a picture, or its file's name where the title names a collection or nothing."""
    title = clean_text(title)
    if title in COLLECTION_TITLES or title.startswith(COLLECTION_PREFIXES) or not title:
        return title_from_name(name, creator)
    title = re.sub(r"^\d+_(.*)_openclipart$", r"\1", title)
    title = re.sub(r"\(email:[^)]*\)|\S+@\S+|\.svg$|-aj(\.svg)?$", "", title)
    title = re.sub(r"\(?\b(Architetto )?(Francesco )?Rollandin( Francesco)?\b\)?", "", title)
    title = split_camel_case(title).replace("_", " ").replace("#", " ")
    return " ".join(title.split()) or title_from_name(name, creator)


def clean_keywords(keywords, creator=""):
    """Lower-case keywords without empty, technical and repeated ones, joined by "|"."""
    kept = {}
    for keyword in keywords:
        keyword = clean_text(keyword).lower().replace("_", " ").replace("|", " ")
        is_name = keyword == creator.lower() or "rollandin" in keyword
        is_junk = re.search(r"0x[0-9a-f]{6}|www\.|https?:", keyword) or not re.search(
            r"[a-z]", keyword, re.ASCII
        )
        if keyword not in DROPPED_KEYWORDS and not is_junk and not is_name:
            kept[keyword] = None
    return "|".join(sorted(kept))


def clean_creator(creator):
    """One spelling per creator, without mail and web addresses; "unknown" where none is named."""
    creator = clean_text(creator)
    if re.fullmatch(r"(mailto:)?\S+(@| ON )\S+", creator):  # a mail address: keep its first half
        creator = re.split(r"@| ON ", creator.removeprefix("mailto:"))[0]
    elif re.fullmatch(r"(https?://)?(www\.)?[\w-]+\.[\w.]+", creator) and " " not in creator:
        creator = re.sub(r"^(https?://)?(www\.)?", "", creator).rsplit(".", 1)[0]
    creator = re.sub(r"[<(\[][^>)\]]*(@|www\.|/~)[^>)\]]*[>)\]]", "", creator)
    creator = re.sub(r"\s*[-,]?\s*(\S+@\S+|https?://\S+)", "", creator).strip(" ,;-")
    if creator.lower() in UNKNOWN_CREATORS or creator.startswith("HASH(0x"):
        return "unknown"
    return CREATOR_ALIASES.get(creator, creator)


def variant_key(title):
    """A title without colours, numbers and "black and white", or whole if nothing is left."""
    words = re.findall(r"[^\W\d_]+", title.lower())
    return " ".join(word for word in words if word not in VARIANT_WORDS) or title.lower()


def read_metadata(svg):
    """Title, keywords, creator and licence of one SVG file, from its RDF description."""
    work = next(node for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("}Work"))
    fields = {node.tag.rpartition("}")[2]: node for node in work}

    def texts(field, tag):
        nodes = fields[field].iter() if field in fields else ()
        return [node.text.strip() for node in nodes if node.tag.endswith(tag) and node.text]

    licence = fields["license"].attrib if "license" in fields else {}
    return {
        "title": next(iter(texts("title", "}title")), ""),
        "keywords": texts("subject", "}li"),
        "creator": " and ".join(filter(None, texts("creator", "}title"))),
        "licence": next((value for key, value in licence.items() if key.endswith("}resource")), ""),
    }
