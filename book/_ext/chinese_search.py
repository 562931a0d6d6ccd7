"""Search that finds Chinese as well as English.

Chinese is written without spaces, so the stock splitter indexes a whole run of characters as
one word and a reader who types a part of it finds nothing. Here every run of Chinese characters
is indexed as its single characters and its overlapping pairs; a query of two or more
characters is cut into pairs, all of which must occur on the page. Words in Latin letters are
stemmed and looked up exactly as in Sphinx's English search.
"""

import re

from sphinx.search.en import SearchEnglish

# CJK unified ideographs with extension A and the compatibility block: all in the basic
# plane, so that Python and JavaScript count characters alike.
CHINESE = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_token = re.compile(rf"[{CHINESE}]+|[^\W{CHINESE}]+")
_chinese = re.compile(rf"[{CHINESE}]")


def split_for_index(text):
    """The words under which `text` is found.

    >>> split_for_index("双塔模型 (two-tower)")
    ['双', '塔', '模', '型', '双塔', '塔模', '模型', 'two', 'tower']
    """
    words = []
    for token in _token.findall(text):
        if _chinese.match(token):
            words.extend(token)
            words.extend(token[i : i + 2] for i in range(len(token) - 1))
        else:
            words.append(token)
    return words


class BilingualSearch(SearchEnglish):
    """English with Chinese bigrams; the two splitters below must agree."""

    js_splitter_code = r"""
var splitQuery = function (query) {
  const token = /[CHINESE]+|(?:(?![CHINESE])[\p{L}\p{N}_])+/gu;
  const words = [];
  for (const run of query.match(token) || []) {
    if (!/[CHINESE]/u.test(run[0]) || run.length === 1) words.push(run);
    else for (let i = 0; i + 1 < run.length; i++) words.push(run.slice(i, i + 2));
  }
  return words;
};
""".replace("CHINESE", "\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff")

    def split(self, input):
        return split_for_index(input)


def setup(app):
    app.add_search_language(BilingualSearch)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
