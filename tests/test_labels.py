"Label files of other programs: nothing is lost on the way in or out, and what cannot be right is said with file and line"
import json
import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from loco.core.errors import BadInput, Missing
from loco.data.annotations import Annotations
from loco.data.labels import annotations, draw_subset, export_labels, formats, join_labels, read_labels, write_events

ONE = ('srt', 'vtt', 'audacity', 'elan')                                  # formats of one video a file
FINE = {k: .0006 if k in ('srt', 'vtt', 'elan') else 2e-6 for k in formats}
SCORED = {'csv', 'tsv', 'rttm', 'via', 'json', 'coco'}

# ---------------------------------------------------------------- round trips

TEXT = st.text(st.characters(codec='utf-8', exclude_categories=('Cc', 'Cs', 'Zl', 'Zp'), exclude_characters='\\<\ufffe\uffff'), min_size=1, max_size=12).map(str.strip) \
    .filter(lambda s: s and '-->' not in s)
EVENT = st.tuples(st.sampled_from(['a', 'b-1', 'été.2']), TEXT, st.integers(0, 3_000_000), st.integers(2, 90_000), st.integers(0, 1000)) \
    .map(lambda o: (o[0], o[1], o[2]/1000, (o[2] + o[3])/1000, o[4]/1000))
EVENTS = st.lists(EVENT, max_size=6, unique_by=lambda e: e[:4])

def columns(events): return dict(zip(('video', 'label', 'start', 'end', 'score'), map(list, zip(*events)) if events else ([], [], [], [], [])))

def there_and_back(events, format, folder, videos=()):
    path = folder/f'labels.{format}'
    write_events(path, columns(events), format, videos=videos)
    return read_labels(path, format=format)

@pytest.mark.parametrize('format', formats)
@settings(max_examples=40)
@given(events=EVENTS)
def test_round_trip(format, tmp_path_factory, events):
    "Every event comes back: its video, its label in any script, its times to the file's resolution, its score where the format has one"
    if format in ONE: events = [('labels', *e[1:]) for e in events]
    events = sorted(dict.fromkeys(events))
    assume(events or format != 'activitynet')                             # which must know how long its videos are
    back = there_and_back(events, format, tmp_path_factory.getbasetemp(), ['labels'] if format in ONE else ())
    got = sorted(zip(*(back.events[k].tolist() for k in ('video', 'label', 'start', 'end'))), key=lambda r: (r[0], r[1], round(r[2], 3), round(r[3], 3)))
    want = sorted((e[:4] for e in events), key=lambda r: (r[0], r[1], round(r[2], 3), round(r[3], 3)))
    assert [r[:2] for r in got] == [r[:2] for r in want] and not back.notes
    assert np.allclose([r[2:] for r in got], [r[2:] for r in want], atol=FINE[format], rtol=0) or not want
    if events and format in SCORED: assert np.allclose(sorted(back.events['score']), sorted(e[4] for e in events), atol=1e-6)

@pytest.mark.parametrize('format', ['via', 'activitynet', 'json', 'coco'])
def test_videos_without_events_stay(format, tmp_path):
    back = there_and_back([('a', 'dog', 1., 2., .5)], format, tmp_path, {'a': dict(duration=9., subset='test'), 'empty': dict(duration=3., subset='train')})
    assert set(back.videos) == {'a', 'empty'}
    if format in ('activitynet', 'coco'): assert annotations(back)['database']['empty'] == dict(duration=3., subset='train', annotations=[])

def test_activitynet_as_published(tmp_path):
    "Splits and ids of the published files become ours, and go back"
    path = tmp_path/'activity_net.json'
    path.write_text(json.dumps({'version': 'VERSION 1.3', 'taxonomy': [], 'database': {
        'v_x1': {'duration': 10.5, 'subset': 'training', 'resolution': '320x240', 'url': '', 'annotations': [{'segment': [0.1, 9], 'label': 'Fun sliding down'}]},
        'v_x2': {'duration': 5, 'subset': 'testing', 'annotations': []}}}))
    made = annotations(join_labels([read_labels(path)], strip='v_'))
    assert Annotations.from_dict(made).subset == {'x1': 'train', 'x2': 'test'}
    write_events(tmp_path/'back.json', read_labels(path).events, 'activitynet', videos=read_labels(path).videos)
    assert json.loads((tmp_path/'back.json').read_text())['database']['v_x2']['subset'] == 'testing'

def test_many_events_are_quick(tmp_path):
    "No format takes time that grows with the square of the events"
    n = 3000
    cols = dict(label=[f'class {i%20}' for i in range(n)], start=[i*.6 for i in range(n)], end=[i*.6 + 7 for i in range(n)], score=[.5]*n)
    for format in formats:
        write_events(tmp_path/f'a.{format}', cols, format, videos=['a'])
        assert len(read_labels(tmp_path/f'a.{format}', format=format)) == n

# ---------------------------------------------------------------- as other programs write them

def test_spreadsheets(tmp_path):
    "Byte-order marks, UTF-16, semicolons, decimal commas, minutes, quoted labels, folders and media endings in names"
    want = [('dog, barking', 62.5, 63.)]
    text = 'Filename;Onset;Offset;Event label\nclips\\farm.MP4;1:02,5;63;"dog, barking"\n'
    for name, raw in dict(bom=text.encode('utf-8-sig'), wide=text.encode('utf-16'), windows=text.replace('\n', '\r\n').encode()).items():
        (tmp_path/f'{name}.csv').write_bytes(raw)
        back = read_labels(tmp_path/f'{name}.csv')
        assert list(back.videos) == ['farm'] and list(zip(*(back.events[k].tolist() for k in ('label', 'start', 'end')))) == want

def test_elan_with_offset_tiers_and_references(tmp_path):
    "The linked video's offset is added, an empty value means the tier's name, references and unaligned slots are counted"
    slots = ''.join(f'<TIME_SLOT TIME_SLOT_ID="ts{i}" {v}/>' for i, v in ((1, 'TIME_VALUE="500"'), (2, 'TIME_VALUE="1500"'), (3, '')))
    note = lambda i, a, b, v: f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{i}" TIME_SLOT_REF1="{a}" TIME_SLOT_REF2="{b}"><ANNOTATION_VALUE>{v}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>'
    (tmp_path/'farm.eaf').write_text(f'''<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///farm.mp4" MIME_TYPE="video/mp4" TIME_ORIGIN="2000"/></HEADER><TIME_ORDER>{slots}</TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="t" TIER_ID="dog">{note(1, "ts1", "ts2", "")}{note(2, "ts2", "ts3", "lost")}</TIER>
<TIER LINGUISTIC_TYPE_REF="t" TIER_ID="by ear">{note(3, "ts1", "ts2", "cock &amp; hen")}</TIER>
<TIER LINGUISTIC_TYPE_REF="r" TIER_ID="remarks"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1"><ANNOTATION_VALUE>loud</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>
<LINGUISTIC_TYPE LINGUISTIC_TYPE_ID="t" TIME_ALIGNABLE="true"/></ANNOTATION_DOCUMENT>''')
    back = read_labels(tmp_path/'farm.eaf')
    assert back.events['label'].tolist() == ['dog', 'cock & hen'] and back.events['start'].tolist() == [2.5, 2.5]
    assert len(back.notes) == 2 and 'refer to others' in ' '.join(back.notes)

def test_via_with_free_text_and_options(tmp_path):
    "A segment's label is its option's name, or free text; spatial attributes and regions are no events"
    project = {'project': {'pid': '__'}, 'config': {}, 'attribute': {'1': {'aname': 'TEMPORAL-SEGMENTS', 'anchor_id': 'FILE1_Z2_XY0', 'type': 4, 'options': {'d': 'dog'}}, '2': {'aname': 'thing', 'anchor_id': 'FILE1_Z1_XY1', 'type': 1}},
               'file': {'7': {'fid': '7', 'fname': 'farm.mp4', 'type': 4, 'loc': 1, 'src': ''}}, 'view': {'1': {'fid_list': ['7']}},
               'metadata': {'1_a': {'vid': '1', 'z': [1, 2], 'xy': [], 'av': {'1': 'd'}}, '1_b': {'vid': '1', 'z': [3, 4], 'xy': [], 'av': {'1': 'cock'}}, '1_c': {'vid': '1', 'z': [2], 'xy': [2, 0, 0, 9, 9], 'av': {'2': 'x'}}}}
    (tmp_path/'via.json').write_text(json.dumps(project))
    back = read_labels(tmp_path/'via.json')
    assert back.events['label'].tolist() == ['dog', 'cock'] and list(back.videos) == ['farm'] and '1 event without a start and an end' in back.notes[0]

# ---------------------------------------------------------------- what cannot be right

WRONG = {
    'no such file': ('none.csv', None, Missing, 'check the folder'),
    'no columns': ('a.csv', 'hello\nthere\n', BadInput, r'a.csv, line 1: no column'),
    'no time': ('a.csv', 'video,start,end,label\nv,1,2,dog\nv,later,3,dog\n', BadInput, r"a.csv, line 3: 'later' is no time"),
    'not finite': ('a.csv', 'video,start,end,label\nv,nan,2,dog\n', BadInput, r"line 2: 'nan' is no time"),
    'backwards': ('a.tsv', 'video\tstart\tend\tlabel\nv\t3\t2\tdog\n', BadInput, r'line 2: event .dog. starts at 3 s and ends at 2 s: exchange'),
    'before the video': ('a.csv', 'video,start,end,label\nv,-3,2,dog\n', BadInput, r'line 2: .* starts at -3 s, before'),
    'a row too short': ('a.csv', 'video,start,end,label\nv,1\n', BadInput, r'line 2 has 2 columns'),
    'a control character': ('a.csv', 'video,start,end,label\nv,1,2,d\x07g\n', BadInput, r'line 2: the label .* no text'),
    'a subtitle arrow': ('a.srt', '1\n00:00:01,000 -> 2\ndog\n\n2\n00:00:01 --> 3\ncat\n', BadInput, r'a.srt, line 6'),
    'not a label track': ('a.txt', '1.0 2.0 dog\n', BadInput, r'a.txt, line 1: .* between tabs'),
    'cut XML': ('a.eaf', '<?xml version="1.0"?>\n<ANNOTATION_DOCUMENT>\n<TIER', BadInput, r'a.eaf, line 3 cannot be read as ELAN'),
    'a document type': ('a.eaf', '<!DOCTYPE lolz [<!ENTITY a "b">]><ANNOTATION_DOCUMENT/>', BadInput, r'declares a document type'),
    'unknown JSON': ('a.json', '{"events": []}', BadInput, r'none of the known kinds'),
    'not even an object': ('a.json', '[1]', BadInput, r'where an object belongs'),
    'VIA 2': ('a.json', '{"_via_img_metadata": {}}', BadInput, r'VIA 2'),
    'no segment': ('a.json', '{"database": {"v": {"annotations": [{"label": "dog"}]}}}', BadInput, r"video 'v': event"),
    'an unknown ending': ('a.doc', '', BadInput, r'tells no format: name it'),
}

@pytest.mark.parametrize('kind', WRONG)
def test_wrong_files_are_named(kind, tmp_path):
    name, text, error, says = WRONG[kind]
    if text is not None: (tmp_path/name).write_text(text, encoding='utf-8')
    with pytest.raises(error, match=says) as e: read_labels(tmp_path/name)
    assert name in str(e.value)

@pytest.mark.parametrize('format', formats)
@settings(max_examples=40)
@given(cuts=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 12), st.binary(max_size=8)), min_size=1, max_size=3))
def test_damaged_files_are_refused_or_read(format, tmp_path_factory, cuts):
    "Whatever bytes are cut out or put in, the outcome is labels or an error of ours, never another"
    path = tmp_path_factory.getbasetemp()/f'damaged.{format}'
    write_events(path, columns([('damaged', 'dog', 1., 2., .5), ('damaged', 'cock', 1.5, 3., .25)]), format)
    raw = path.read_bytes()
    for at, gone, new in cuts: raw = raw[:at % len(raw)] + new + raw[at % len(raw) + gone:] or b' '
    path.write_bytes(raw)
    try: read_labels(path, format=format)
    except (ValueError, OSError) as e: assert path.name in str(e)

def test_writing_refuses_what_a_format_cannot_hold(tmp_path):
    two = columns([('a', 'dog', 1., 2., .5), ('b', 'dog', 1., 2., .5)])
    for format in ONE:
        with pytest.raises(BadInput, match='holds one video, these are 2'): write_events(tmp_path/'x', two, format)
    for format, label in (('srt', 'a\\Nb'), ('vtt', 'a\\Nb'), ('srt', 'a --> b')):
        with pytest.raises(BadInput, match='label'): write_events(tmp_path/'x', dict(label=[label], start=[1], end=[2]), format)
    with pytest.raises(BadInput, match='one line'): write_events(tmp_path/'x.csv', dict(label=['a\nb'], start=[1], end=[2]))
    with pytest.raises(BadInput, match='100 hours'): write_events(tmp_path/'x.srt', dict(label=['a'], start=[1], end=[360_001]))
    assert not any(tmp_path.iterdir())

def test_nothing_is_lost_without_a_note(tmp_path):
    "Points in time, doubles, events past the end: all counted"
    (tmp_path/'a.csv').write_text('video,start,end,label,duration\nv,1,1,tick,10\nv,2,3,dog,10\nv,2,3,dog,10\nv,9,12,cat,10\nv,11,12,cat,10\n')
    read, notes = read_labels(tmp_path/'a.csv'), []
    made = annotations(read, notes=notes)
    assert [a['segment'] for a in made['database']['v']['annotations']] == [[2, 3], [9, 10]]
    assert '1 event without length' in read.notes[0] and notes == ['2 events past the end of their video were cut there or left out', '1 events were listed twice']

def test_splits_do_not_depend_on_other_videos():
    assert {draw_subset(f'v{i}', validation=.2, test=.2) for i in range(40)} == {'train', 'validation', 'test'}
    assert draw_subset('v1', test=1.) == 'test' and draw_subset('v1') == 'train'
    with pytest.raises(BadInput, match='shares'): draw_subset('v1', test=1.5)

# ---------------------------------------------------------------- at the command line

def loco(*words):
    "Exit status and output of the program, in this process"
    from typer.testing import CliRunner
    from loco.program.main import app
    r = CliRunner().invoke(app, [str(w) for w in words])
    return r.exit_code, r.output, r.exception

def test_import_and_export_at_the_command_line(root, tmp_path):
    "Mixed files and a folder of videos become annotations that load; what is known of a video survives the way out"
    (tmp_path/'a.csv').write_text('video,start,end,label\ntest_0018.mp4,1,2,dog\n')
    (tmp_path/'test_0125.srt').write_text('1\n00:00:01,000 --> 00:00:02,500\ncat\n')
    pytest.importorskip('av')
    code, said, _ = loco('label', 'import', tmp_path/'a.csv', tmp_path/'test_0125.srt', '--videos', root/'data/stampsav/clips', '--test', '1', '--out', tmp_path/'out.json', '--json')
    told = json.loads(said)
    assert code == 0 and told['videos'] == 3 and told['events'] == 2 and told['splits'] == {'test': 3} and told['labels'] == ['cat', 'dog']
    assert 20 < Annotations.load(tmp_path/'out.json').duration['test_0154'] < 22
    code, said, _ = loco('label', 'export', tmp_path/'out.json', '--out', tmp_path/'elan', '--format', 'elan')
    assert code == 0 and sorted(o.name for o in (tmp_path/'elan').iterdir()) == ['test_0018.eaf', 'test_0125.eaf', 'test_0154.eaf']

def test_failing_at_the_command_line_leaves_nothing(tmp_path):
    (tmp_path/'a.csv').write_text('video,start,end,label\nv,1,2,dog\nv,x,2,dog\n')
    (tmp_path/'empty').mkdir()
    for words, says in (((tmp_path/'a.csv', '--out', tmp_path/'o.json'), 'line 3'), ((tmp_path/'a.csv', '--out', tmp_path/'a.csv'), 'is read here'), ((tmp_path/'none', '--out', tmp_path/'o.json'), 'no file'), ((tmp_path/'empty', '--out', tmp_path/'o.json'), 'no label file')):
        code, _, error = loco('label', 'import', *words)
        assert code and says in str(error)
    assert sorted(o.name for o in tmp_path.iterdir()) == ['a.csv', 'empty']

def test_scores_for_machines(tmp_path, monkeypatch, capsys):
    "`loco eval --json` prints one JSON list and nothing else"
    import loco.training.judge as judge
    monkeypatch.setattr(judge, 'check_run', lambda folder: folder)
    monkeypatch.setattr(judge, 'evaluate', lambda folder, **kw: type('Score', (), dict(row=lambda self: {'0.5': 31.25, 'Avg.': 20.5}))())
    code, said, _ = loco('eval', tmp_path, '--json', '--quiet')
    assert code == 0 and json.loads(said) == [{'run': str(tmp_path), 'split': 'test', 'mAP': {'0.5': 31.25, 'Avg.': 20.5}}]

# ---------------------------------------------------------------- the program

def label(*words):
    from typer.testing import CliRunner
    from loco.program import main
    return CliRunner().invoke(main.app, ['label', *map(str, words)])

@pytest.fixture
def three(tmp_path):
    "A table of three videos"
    path = tmp_path/'three.csv'
    path.write_text('video,start,end,label\n' + ''.join(f'{v},1,2,dog\n' for v in 'abc'))
    return path

def test_import_refuses_a_split_that_there_is_not(three, tmp_path):
    r = label('import', three, '--out', tmp_path/'a.json', '--subset', 'banana')
    assert isinstance(r.exception, BadInput) and "unknown split 'banana'" in str(r.exception) and not (tmp_path/'a.json').exists()

def test_import_says_what_it_drew_and_what_it_replaced(three, tmp_path):
    "A share that gave no video, and a file that somebody may have written by hand"
    words = 'import', three, '--out', tmp_path/'a.json', '--validation', '0.0001'
    first, again = label(*words), label(*words)
    assert first.exit_code == again.exit_code == 0, first.exception
    assert 'drew none of 3 videos' in first.output and 'replaced' not in first.output and 'is replaced' in again.output

def test_export_says_how_many_events_are_left(tmp_path):
    "A table with a head only, and no word"
    path = tmp_path/'found.json'
    path.write_text(json.dumps({'results': {'a': [{'label': 'dog', 'segment': [1, 2], 'score': .4}]}}))
    assert label('export', path, '--out', tmp_path/'f.csv', '--min-score', '3').exit_code == 2
    assert '0 of 1 events score 0.9 or more' in label('export', path, '--out', tmp_path/'f.csv', '--min-score', '.9').output
    with pytest.raises(BadInput, match='from 0 to 1'): export_labels(read_labels(path), tmp_path/'g.csv', min_score=3)
