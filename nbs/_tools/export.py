"""Write `loco/` and pyproject.toml from the notebooks

    python nbs/_tools/export.py             bring the package up to date
    python nbs/_tools/export.py --check     only say what is stale; exit status 1 if anything is

The notebooks are exported by nbdev into an empty copy of the project, and the result is compared with what is here. So
the outcome never depends on what an earlier export left behind, a module whose notebook is gone goes too, and checking
and writing cannot disagree.
"""
import argparse, difflib, os, shutil, subprocess, sys, tempfile
from pathlib import Path

from common import LIB, NBS, ROOT, notebooks

def fresh(folder):
    "Export every notebook into a bare copy of the project in `folder`"
    folder = Path(folder)
    (folder/NBS.name).mkdir()
    shutil.copy(ROOT/'settings.ini', folder)
    for o in notebooks():
        copy = folder/o.relative_to(ROOT)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(o, copy)
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'}     # nbdev exports nothing under IN_TEST
    done = subprocess.run([sys.executable, '-c', 'from nbdev.doclinks import nbdev_export; nbdev_export()'], cwd=folder, env=env,
                          capture_output=True, text=True)
    if done.returncode: raise SystemExit(f'nbdev_export failed:\n{done.stdout}{done.stderr}')

def exported(root):
    "`{relative path: text}` of all that an export writes"
    files = [root/'pyproject.toml', *(root/LIB.name).rglob('*.py')]
    return {str(o.relative_to(root)): o.read_text(encoding='utf-8') for o in files if o.is_file()}

def stale():
    "`{path: (text here, text as exported)}` of the files that differ; an absent file is `None`"
    with tempfile.TemporaryDirectory() as tmp:
        fresh(tmp)
        here, there = exported(ROOT), exported(Path(tmp))
    return {k: (here.get(k), there.get(k)) for k in sorted(here | there) if here.get(k) != there.get(k)}

def explain(path, old, new, *, lines=12):
    "The first lines of the difference between a file and its export"
    if old is None: return f'{path} is missing'
    if new is None: return f'{path} comes from no notebook'
    diff = list(difflib.unified_diff(old.splitlines(), new.splitlines(), path, 'as exported from the notebooks', lineterm='', n=1))
    return '\n'.join(diff[:lines] + ['...'] * (len(diff) > lines))

def write(path, new):
    "Replace, create or remove one file"
    path = ROOT/path
    if new is None: return path.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f'.{path.name}.tmp')
    tmp.write_text(new, encoding='utf-8')
    os.replace(tmp, path)

def main(argv=None):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--check', action='store_true', help='write nothing; exit with 1 if a file is stale')
    a, changes = p.parse_args(argv), stale()
    for path, (old, new) in changes.items():
        print(explain(path, old, new) if a.check else f'{"removed" if new is None else "written"}: {path}')
        if not a.check: write(path, new)
    if not changes: print('loco/ and pyproject.toml match the notebooks')
    elif a.check: print('\nstale: run `make export`')
    return 1 if a.check and changes else 0

if __name__ == '__main__': sys.exit(main())
