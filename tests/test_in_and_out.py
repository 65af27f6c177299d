"Ids, labels, slugs and archives are text and numbers: never a path, a command to a terminal, markup, or a flood"
import io, os, subprocess, sys, tarfile, zipfile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import small
from loco.core.errors import BadInput
from loco.core.files import file_name, inside
from loco.core.terminal import escaped, fitting, plain, say, table

EVIL = ['../../x', '/etc/passwd', 'a/../../b', '..', '.', '', 'C:x', r'..\x', 'con', 'nul.txt', 'a\0b', '\x1b[2J', 'a\nb', 'x'*400, '\ud800', 'A', 'a', 'a ', 'a.', '-rf', '~', '*']
ids = st.text(max_size=60) | st.sampled_from(EVIL)

@given(ids)
def test_an_id_is_one_part_of_a_path(id):
    name = file_name(id)
    assert 0 < len(name.encode()) <= 100 and Path('x', name).name == name and name not in ('.', '..')
    assert name[-1] not in '. ' and not set(name) & set('/\\:*?"<>|\0') and name.isprintable()

@given(st.lists(ids, max_size=12, unique=True))
def test_different_ids_have_different_names(some):
    "On every disk, those too that take capitals for small letters"
    assert len({file_name(o).casefold() for o in some}) == len(some)

@given(ids)
def test_a_path_stays_in_its_folder(id):
    try: path = inside('/data/set', id)
    except BadInput: return
    assert os.path.normpath(path) == '/data/set' or os.path.normpath(path).startswith('/data/set/')

def test_plots_of_evil_ids_stay_in_their_folder(tmp_path):
    from loco.core.plots import Picture, save_picture
    (tmp_path/'a').mkdir()
    for id in EVIL: save_picture(Picture(1, 1), tmp_path/'a'/'plots', f'events {id}')
    assert os.listdir(tmp_path) == ['a'] and os.listdir(tmp_path/'a') == ['plots'] and len(os.listdir(tmp_path/'a'/'plots')) == len(EVIL)

@pytest.mark.parametrize('changes', [{'slug': '../../../x'}, {'slug': '/tmp/x'}, {'slug': ''}, {'slug': '.'}, {'slug': 3}, {'seed': '../x'}, {'seed': -1}, {'seed': True}, {'seed': 1.5}])
def test_a_results_file_names_no_paths(changes, tmp_path):
    from loco.core.files import read_json, write_json
    from loco.study.tables import read_bundle
    kept = read_json(small.ROOT/'nbs'/'results'/'stampsav.json')
    write_json(tmp_path/'start.json', {**kept, 'runs': [{**kept['runs'][0], **changes}]})
    with pytest.raises(BadInput, match='start.json: run 1'): read_bundle(tmp_path/'start.json')

# ---------------------------------------------------------------- terminals and pages

@given(st.text())
def test_nothing_printed_steers_a_terminal(text):
    seen = plain(text)
    assert all(c in '\n\t' or c.isprintable() or ord(c) > 0x9f for c in seen) and '\x1b' not in seen

def test_tables_and_lines_are_plain():
    out = io.StringIO()
    say('video \x1b]0;mine\x07', table('runs \x1b[2J', ['a\x1b[2J'], [['b\x1b[2J\u202e']]), file=out)
    assert not set('\x1b\x07\u202e') & set(out.getvalue())

@pytest.mark.parametrize('label', ['<script>alert(1)</script>', '![x](//x/y.png)', '[a](//x)', '`rm`', 'a | b', '# Title', '*a*', '<!-- x -->', 'a\n\n# b'])
def test_labels_are_no_markup(label):
    text = escaped(label)
    assert '<' not in text and '\n' not in text
    for sign in '`*[]|#': assert text.count(sign) == text.count('\\' + sign)

def test_a_model_card_shows_labels_as_they_are():
    from test_lost import tiny
    from loco.model.localizer import model_card
    card = model_card(tiny(('<img src=x>', '\x1b[2J| [a](//x)')), name='x"); import os; ("', scores={'<b>': 1})
    assert '<img' not in card and '<b>' not in card and '\x1b' not in card and '] (' not in card and '[a](' not in card
    assert card.count('"') == 2

@pytest.mark.parametrize('words', [['config'], ['--help'], ['train', '--help'], ['eval', 'nowhere']])
def test_terminals_of_ascii_only_are_served(words):
    env = {**os.environ, 'LANG': 'C', 'LC_ALL': 'C', 'PYTHONIOENCODING': 'ascii', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
    done = subprocess.run([sys.executable, '-m', 'loco.program.main', *words], capture_output=True, cwd=small.ROOT, env=env)
    assert done.returncode == (2 if words[0] == 'eval' else 0), done.stderr[-500:]
    assert (done.stdout + done.stderr).isascii() and b'Traceback' not in done.stderr and b"codec can't" not in done.stderr

def test_signs_become_words_where_they_must():
    assert fitting('51.9 ± 1.8 → °', 'ascii') == '51.9 +- 1.8 -> *' and fitting('±', 'utf-8') == '±' and fitting('±', 'latin-1') == '±'

# ---------------------------------------------------------------- archives

def packed(path, members):
    if path.suffix == '.zip':
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as z: [z.writestr(n, b) for n, b in members]
    else:
        with tarfile.open(path, 'w:' + path.suffix[1:]) as t:
            for n, b in members:
                info = tarfile.TarInfo(n)
                info.size = len(b)
                t.addfile(info, io.BytesIO(b))
    return path

@pytest.mark.parametrize('ending', ['zip', 'tar.gz', 'tar.xz'])
@pytest.mark.parametrize('members', [[('v_rgb.npy', bytes(40 << 20))], [('a/v_rgb.npy', b'1'), ('b/v_rgb.npy', b'2')], [('ok_rgb.npy', b'1'), ('v_rgb.npy', bytes(40 << 20))]])
def test_of_a_bad_archive_nothing_stays(members, ending, tmp_path):
    "It grows beyond what features could hold, or has a name twice"
    from loco.data.download import extract
    out = tmp_path/'out'
    with pytest.raises(BadInput, match='i3d'): extract(packed(tmp_path/f'i3d.{ending}', members), out, features='i3d-vggish')
    assert os.listdir(out) == [] and sorted(os.listdir(tmp_path)) == [f'i3d.{ending}', 'out']

def test_members_go_nowhere_else(tmp_path):
    from loco.data.download import extract
    (tmp_path/'in').mkdir(); (tmp_path/'victim').write_text('mine')
    path = tmp_path/'in'/'i3d.tar.gz'
    with tarfile.open(path, 'w:gz') as t:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            info = tarfile.TarInfo(f'{kind.decode()}_rgb.npy')
            info.type, info.linkname = kind, '../victim'
            t.addfile(info)
        for name in ('../../up_rgb.npy', '/abs_rgb.npy'):
            info = tarfile.TarInfo(name)
            info.size = 1
            t.addfile(info, io.BytesIO(b'1'))
    assert extract(path, tmp_path/'in'/'out', features='i3d-vggish') == 2
    assert sorted(os.listdir(tmp_path/'in'/'out')) == ['abs_rgb.npy', 'up_rgb.npy'] and (tmp_path/'victim').read_text() == 'mine'
    assert sorted(os.listdir(tmp_path)) == ['in', 'victim']
