"""How to install the project, in Markdown: from PyPI where settings.ini says `published = yes`, else from a checkout or a wheel

    python nbs/_tools/install.py
"""
from common import settings

COMMANDS = '''```sh
pip install {plain:{width}}   # the package and the program `{program}`
pip install {media:{width}}   # also the encoders, to detect events in your own videos
```'''
CHECKOUT = 'In the top folder of a checkout of this repository, for {name} is not on PyPI yet:'
WHEEL = '''To install without a checkout, make a wheel in one with `pip wheel --no-deps .`, and install that file, with its extras in brackets behind its name:

```sh
pip install '{wheel}[media]'
```'''
OTHERS = '''A package called `{program}` is on PyPI: it has nothing to do with this one, but its import name and its program are called the same. Do not install both into one environment.'''

def install_block(
    cfg=None, # The settings; those of settings.ini if None
) -> str: # Markdown
    "Commands that install the package today, and what else is called by its name"
    cfg = settings() if cfg is None else cfg
    name, published = cfg['lib_name'], cfg['published'] == 'yes'
    where = name if published else '.'
    plain, media = where, f"'{where}[media]'"
    text = COMMANDS.format(plain=plain, media=media, width=len(media), program=cfg['repo'])
    wheel = f"{name.replace('-', '_')}-{cfg['version']}-py3-none-any.whl"
    parts = [text] if published else [CHECKOUT.format(name=name), text, WHEEL.format(wheel=wheel)]
    parts.append(OTHERS.format(program=cfg['repo']))
    return '\n\n'.join(parts)

if __name__ == '__main__': print(install_block())
