"""The bibliography: nbs/references.bib, and the page nbs/references.md that is written from it

A page cites an entry by an ordinary link, which works in JupyterLab, on the site and in the README: `[LoCo](../references.md#loco)`.
"""
import re

from common import NBS

BIB, PAGE = NBS/'references.bib', NBS/'references.md'
_entry = re.compile(r'^@(\w+)\{([\w-]+),(.*?)\}\s*(?=^@|\Z)', re.M | re.S)
_field = re.compile(r'(\w+)\s*=\s*\{((?:[^{}]|\{[^{}]*\})*)\}')
HEAD = '''<!-- Written from references.bib by `make readme`: edit that file. -->
# References

> The paper, the systems it is compared with, and the methods they are made of
'''

def entries():
    "`{key: its fields}`, in the order of the file"
    text = re.sub(r'^%.*\n', '', BIB.read_text(encoding='utf-8'), flags=re.M)
    return {key: dict(_field.findall(body)) for _, key, body in _entry.findall(text)}

def anchor(label):
    "Name that a heading gets as the target of a link"
    return re.sub(r'[^\w-]', '', label.lower().replace(' ', '-'))

def people(authors):
    "Authors as a sentence reads them"
    names = authors.split(' and ')
    if names[-1] == 'others': return ', '.join(names[:-1]) + ' and others'
    return names[0] if len(names) == 1 else ', '.join(names[:-1]) + ' and ' + names[-1]

def line(o):
    "One entry as a paragraph"
    where = [f'arXiv:{o["eprint"]}' if 'preprint' in (p := o.get('booktitle') or o.get('journal') or o.get('howpublished', '')) else p, o.get('year')]
    link = o.get('url') or (f'https://arxiv.org/abs/{o["eprint"]}' if 'eprint' in o else None)
    title = f'[{o["title"]}]({link})' if link else f'*{o["title"]}*'
    note = f' {o["note"]}.' if 'note' in o else ''
    return f'{people(o["author"])}. {title}. {", ".join(filter(None, where))}.{note}'

def build():
    "The page as Markdown"
    found, groups = entries(), {}
    for o in found.values(): groups.setdefault(o['group'], []).append(o)
    parts = [HEAD]
    for group, inside in groups.items():
        parts.append(f'## {group}\n')
        for o in inside: parts.append(f'### {o["label"]}\n\n{line(o)}\n')
    return '\n'.join(parts)
