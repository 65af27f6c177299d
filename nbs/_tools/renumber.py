"""Number the pages anew after one was put between two others: `37b_new.ipynb` becomes 38, what followed moves on, and every mention of a moved page follows

    python nbs/_tools/renumber.py            then `make export readme`
"""
import re, subprocess
from pathlib import Path
from common import NBS, ROOT, parts

_numbered = re.compile(r'(a?)(\d+)([a-z]?)_(.+)')
KEEP = ('.ipynb', '.md', '.py', '.sh', '.ini', '.toml', '.txt', '.json', '.cff', '.yml', '')

def order(path):
    "Where a page stands in its part: by number, then by letter"
    _, number, letter, _ = _numbered.fullmatch(path.stem).groups()
    return int(number), letter

def moves():
    "`{old name: new name}` of all pages whose number changes; the book counts from 1 through its parts, the workshop from a00"
    found, book, workshop = {}, 1, 0
    for pages in parts().values():
        for path in sorted(pages, key=order):
            prefix, _, _, rest = _numbered.fullmatch(path.stem).groups()
            new = f'a{workshop:02d}_{rest}' if prefix else f'{book:02d}_{rest}'
            workshop, book = workshop + bool(prefix), book + (not prefix)
            if new != path.stem: found[path.stem] = new
    return found

def follow(text, names):
    "A text in which mentions of pages carry their new names"
    if not names: return text
    old = '|'.join(re.escape(o) for o in sorted(names, key=len, reverse=True))
    return re.sub(rf'(?<!\w)({old})(?!\w)', lambda m: names[m[1]], text)

def main():
    names = moves()
    known = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard', '-z'], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split('\0')
    for name in filter(None, known):
        path = ROOT/name
        if path.suffix not in KEEP or not path.is_file() or path.parts[-2:-1] == ('features',): continue
        try: before = path.read_text(encoding='utf-8')
        except UnicodeDecodeError: continue
        after = follow(before, names)
        if after != before: path.write_text(after, encoding='utf-8')
    pages = {o.stem: o for o in NBS.glob('*/*.ipynb') if o.stem in names}
    for old, path in pages.items(): path.rename(path.with_name(f'{old}.moving'))
    for old, path in pages.items(): path.with_name(f'{old}.moving').rename(path.with_name(f'{names[old]}.ipynb'))
    for old, new in names.items(): print(f'{old} -> {new}')
    print(f'{len(names)} pages renamed')

if __name__ == '__main__': main()
