"Build script: every setting is read from settings.ini; edit there, not here."
from configparser import ConfigParser
from pathlib import Path

import setuptools

here = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(here/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']

wanted = 'lib_name version description keywords author author_email license status min_python audience language lib_path'.split()
if missing := [o for o in wanted if o not in cfg]: raise SystemExit(f'settings.ini lacks {" ".join(missing)}')

lib, status = cfg['lib_path'], int(cfg['status'])
stages = 'Planning Pre-Alpha Alpha Beta Production/Stable Mature Inactive'.split()
licenses = dict(apache2='Apache-2.0', mit='MIT')
oldest, newest = int(cfg['min_python'].split('.')[1]), 14
needs = lambda key: cfg.get(key, '').split()

setuptools.setup(
    name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'].split(),
    author=cfg['author'], author_email=cfg['author_email'], license=licenses.get(cfg['license'], cfg['license']),
    classifiers=[f'Development Status :: {status} - {stages[status-1]}', f'Intended Audience :: {cfg["audience"]}',
                 f'Natural Language :: {cfg["language"]}', 'Topic :: Scientific/Engineering :: Artificial Intelligence',
                 *(f'Programming Language :: Python :: 3.{o}' for o in range(oldest, newest + 1))],
    packages=setuptools.find_packages(include=[lib, f'{lib}.*']), zip_safe=False,
    package_data={f'{lib}.media': ['demo/*']},
    python_requires='>=' + cfg['min_python'], install_requires=needs('requirements'),
    extras_require={k.removesuffix('_requirements'): needs(k) for k in cfg if k.endswith('_requirements')},
    entry_points={'console_scripts': needs('console_scripts'), 'nbdev': [f'{lib}={lib}._modidx:d']},
    long_description=(here/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
)
