"Sphinx configuration: the site is built straight from nbs/, `sphinx-build -c nbs/_site nbs _docs/html`"
import json, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import reader
from common import NBS, notebooks, page, parts, settings

cfg = settings()
project, author, release, copyright = cfg['title'], cfg['author'], cfg['version'], cfg['copyright']
extensions = ['myst_nb', 'sphinx.ext.mathjax', 'sphinx_design', 'sphinx_copybutton']
root_doc, language = 'index', 'en'
exclude_patterns = ['_*', '.*', '**/.ipynb_checkpoints']

# notebooks: read as they were executed
nb_custom_formats = {'.ipynb': ('reader.read', {}, False)}
nb_execution_mode = 'off'
nb_merge_streams = True
nb_render_markdown_format = 'myst'
nb_ipywidgets_js = {'require.js': {}, 'embed-amd.js': {}}
myst_enable_extensions = ['dollarmath', 'amsmath', 'colon_fence', 'deflist', 'attrs_inline', 'attrs_block', 'html_image']
myst_heading_anchors = 3
myst_dmath_double_inline = True
mathjax_path = 'tex-svg-full.js'

# reference
add_module_names = False
toc_object_entries_show_parents = 'hide'

html_theme = 'sphinx_book_theme'
html_title = project
html_favicon = 'static/icon.svg'
html_logo = 'static/icon.svg'
html_static_path = ['static', 'vendor/page']
html_css_files = ['style.css']
html_js_files = [('widgets.js', dict(priority=100))]      # before MathJax
html_context = dict(default_mode='auto')          # without it the theme complains on a first visit
html_copy_source = html_show_sourcelink = False
html_theme_options = dict(home_page_in_toc=True, use_download_button=False, use_fullscreen_button=False, navbar_persistent=[], max_navbar_depth=1,
                          show_toc_level=2, pygments_light_style='a11y-high-contrast-light', pygments_dark_style='a11y-high-contrast-dark',
                          logo=dict(text=project, alt_text=f'{project}, start page'))

LOOK_UP = ['glossary', 'equations', 'references', 'api']

def contents():
    "Hidden tables of contents, one for each part of the book, and what one looks things up in"
    tree = lambda caption, pages: '\n'.join(['```{toctree}', ':hidden:', f':caption: {caption}', '', *pages, '```'])
    book = {}
    for caption, found in parts().items():
        first = found[0].parent/'index.md'
        book[caption] = [f'In this part <{page(first)}>']*first.is_file() + [page(o) for o in found]
    return '\n\n'.join(tree(k, v) for k, v in {**book, 'Look it up': [o for o in LOOK_UP if (NBS/f'{o}.md').is_file()]}.items())

def complete(app, docname, source):
    "Give the start page its contents, the list pages their lists, and each notebook its own name"
    path = Path(app.env.doc2path(docname))
    if docname == 'api': source[0] += '\n\n' + reader.index()
    elif path.name == 'index.md': source[0] = reader.prose(source[0]) + '\n\n' + reader.pages_of(path.parent)
    elif path.suffix == '.md': source[0] = reader.prose(source[0])
    if path.suffix == '.md': return
    nb = json.loads(source[0])
    nb['metadata']['docname'] = docname
    if docname == root_doc: nb['cells'].append(dict(cell_type='markdown', id='contents', metadata={}, source=contents()))
    source[0] = json.dumps(nb)

def tell_programs(app, error):
    "Beside the pages: llms.txt, and each notebook as Markdown"
    if error or app.builder.format != 'html': return
    out = Path(app.outdir)
    (out/'llms.txt').write_text(reader.llms(project, cfg['description'], parts()), encoding='utf-8')
    for o in notebooks(): (out/f'{page(o)}.md').write_text(reader.plain_text(o), encoding='utf-8')

def setup(app):
    app.connect('source-read', complete)
    app.connect('build-finished', tell_programs)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
