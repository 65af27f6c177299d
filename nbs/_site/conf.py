"Sphinx configuration: the site is built straight from nbs/, `sphinx-build -c nbs/_site nbs _docs/html`"
import json, sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import reader
from common import notebooks, page, settings

cfg = settings()
project, author, release, copyright = cfg['title'], cfg['author'], cfg['version'], cfg['copyright']
extensions = ['myst_nb', 'sphinx.ext.mathjax', 'sphinx.ext.viewcode', 'sphinx_design', 'sphinx_copybutton']
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
viewcode_follow_imported_members = False

html_theme = 'sphinx_book_theme'
html_title = project
html_favicon = 'static/icon.svg'
html_logo = 'static/icon.svg'
html_static_path = ['static', 'vendor']
html_css_files = ['style.css']
html_js_files = [('widgets.js', dict(priority=100))]      # before MathJax
html_context = dict(default_mode='auto')          # without it the theme complains on a first visit
html_copy_source = html_show_sourcelink = False
html_theme_options = dict(home_page_in_toc=True, use_download_button=False, use_fullscreen_button=False, navbar_persistent=[],
                          show_toc_level=2, pygments_light_style='friendly', pygments_dark_style='github-dark',
                          logo=dict(text=project, alt_text=f'{project}, start page'))

PARTS = {'1_start': 'Start', '2_grid': 'From video to grid', '3_detector': 'A detector on a pyramid', '4_ideas': "LoCo's two ideas", '5_results': 'Does it work?',
         '6_rivals': 'The systems compared', '7_using': 'Using it', 'workshop': 'Workshop'}

def contents():
    "Hidden tables of contents, one for each part of the book, and the reference"
    tree = lambda caption, pages: '\n'.join(['```{toctree}', ':hidden:', f':caption: {caption}', '', *pages, '```'])
    parts = {caption: [page(o) for o in notebooks() if o.parent.name == folder] for folder, caption in PARTS.items()}
    return '\n\n'.join(tree(k, pages) for k, pages in {**parts, 'Reference': ['api']}.items() if pages)

def complete(app, docname, source):
    "Give the start page its contents, the reference page its lists, and each notebook its own name"
    if docname == 'api':
        source[0] += '\n\n' + reader.index()
        return
    nb = json.loads(source[0])
    nb['metadata']['docname'] = docname
    if docname == root_doc: nb['cells'].append(dict(cell_type='markdown', id='contents', metadata={}, source=contents()))
    source[0] = json.dumps(nb)

def setup(app): app.connect('source-read', complete)
