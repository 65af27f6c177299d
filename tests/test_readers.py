"Whatever is in a file, its reader accepts it or says what is wrong with which file, soon and in little memory"
import json, random, subprocess, sys, time

import pytest
from hypothesis import given, settings, strategies as st

import fuzz, loco
from loco.core.config import Config
from loco.core.files import parse_json, read_array, read_json
from loco.core.errors import BadInput, Error, Missing, NeedsPackage, Unwritable

SLOW = {'weights', 'model description'}
GOOD = {'accepted', 'BadInput', 'Missing'}

@pytest.fixture(scope='module')
def valid(tmp_path_factory):
    "Of each kind a valid file, its content and its reader"
    return {k: fuzz.prepare(k, tmp_path_factory.mktemp('valid')) for k in fuzz.KINDS}

def judge(valid, kind, data):
    path, _, read = valid[kind]
    path.write_bytes(data)
    said = fuzz.outcome(read, path)
    assert said in GOOD, f'{kind}: {said}'

@pytest.mark.parametrize('kind', fuzz.KINDS)
def test_damaged_files_are_refused_by_name(kind, valid):
    "Bytes flipped, cut, moved; values exchanged, removed, repeated"
    raw, draw = valid[kind][1], random.Random(kind)
    for _ in range(15 if kind in SLOW else 60): judge(valid, kind, fuzz.mutated(raw, draw))

@pytest.mark.parametrize('kind', fuzz.KINDS)
@settings(max_examples=10)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_by_name(kind, valid, data): judge(valid, kind, data)

json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
                           lambda o: st.lists(o, max_size=3) | st.dictionaries(st.sampled_from(('database', 'results', 'model', 'a', 'duration', 'annotations', 'segment', 'settings', 'runs')), o, max_size=3), max_leaves=8)

@pytest.mark.parametrize('kind', [k for k in fuzz.KINDS if k in ('annotations', 'predictions', 'configuration', 'history', 'bundle', 'manifest', 'model description')])
@settings(max_examples=25)
@given(value=json_values)
def test_any_json_is_refused_by_name(kind, valid, value): judge(valid, kind, json.dumps(value).encode())

@pytest.mark.parametrize('kind', [k for k in fuzz.KINDS])
def test_what_is_not_there_is_said_to_be_missing(kind, valid, tmp_path):
    path, raw, read = valid[kind]
    path.unlink()
    try:
        with pytest.raises(Error) as e: read(path)
    finally: path.write_bytes(raw)
    assert path.name in str(e.value) or path.parent.name in str(e.value)

def test_the_family_is_also_what_it_was():
    for kind, was in ((BadInput, ValueError), (Missing, FileNotFoundError), (Unwritable, OSError), (NeedsPackage, ImportError)):
        assert issubclass(kind, loco.Error) and issubclass(kind, was)

def test_a_number_is_a_number():
    "Text, truth values, infinities, what overflows: none is taken for a number of events"
    from loco.data.annotations import Annotations
    for wrong in ('3', True, None, [3], 1e308, 10**300, float('nan'), float('inf'), -1, 0):
        with pytest.raises(BadInput, match='duration'): Annotations.from_dict({'database': {'v': {'duration': wrong, 'subset': 'train', 'annotations': []}}})

def _results(d): return {'results': {'v': [d]}}
def _database(d): return {'database': {'v': {'duration': 10, 'subset': 'train', 'annotations': [d]}}}
def _coco(d): return {'videos': [{'id': 1, 'name': 'v'}], 'categories': [{'id': 1, 'name': d['label']}], 'annotations': [{'video_id': 1, 'category_id': 1, **{k: d[k] for k in ('segment', 'score')}}]}

def _of_opentad(path):
    from loco.rivals.opentad_export import read_detections
    return read_detections(path, labels=('dog', '3'))

def _predictions(path):
    from loco.detection.tables import read_predictions
    return read_predictions(path)

def _labels(path):
    from loco.data.labels import read_labels
    return read_labels(path).events

def _annotations(path):
    from loco.data.annotations import Annotations
    return Annotations.load(path).table()

EVENT = {'label': 'dog', 'score': .5, 'segment': [1, 2]}

@pytest.mark.parametrize('read, form', [(_predictions, _results), (_of_opentad, _results), (_labels, _results), (_labels, _database), (_labels, _coco), (_annotations, _database)], ids=['predictions', 'OpenTAD', 'results', 'labels', 'COCO', 'annotations'])
@pytest.mark.parametrize('wrong', [{'segment': '12'}, {'segment': {'1': 1, '2': 2}}, {'segment': [True, 2]}, {'segment': ['1', '2']}, {'segment': [1, 2, 3]}, {'segment': [1, 1e999]}, {'segment': None},
    {'score': True}, {'score': '0.5'}, {'score': [1]}, {'label': 3}, {'label': ['dog']}, {'label': {}}], ids=str)
def test_no_reader_takes_text_or_truth_for_a_number_or_a_number_for_a_label(read, form, wrong, tmp_path):
    "Whichever file events come from; annotations have no scores"
    (path := tmp_path/'events.json').write_text(json.dumps(form(EVENT)))
    assert len(read(path)['label']) == 1
    if read is _annotations and 'score' in wrong: return
    path.write_text(json.dumps(form(EVENT | wrong)))
    with pytest.raises(BadInput) as e: read(path)
    assert str(path) in str(e.value) and 'Copy it again' not in str(e.value)

@pytest.mark.parametrize('which', ['videos', 'categories'])
def test_one_id_is_one_thing(which, tmp_path):
    "Of two videos or classes with one id the last would win"
    d = _coco(EVENT)
    d[which].append({'id': 1, 'name': 'other'})
    (path := tmp_path/'coco.json').write_text(json.dumps(d))
    with pytest.raises(BadInput, match='two have the id 1'): _labels(path)

@pytest.mark.parametrize('id', [True, float('nan'), '1', [1]], ids=str)
def test_the_number_of_a_class_is_a_number(id, tmp_path):
    (path := tmp_path/'a.json').write_text(json.dumps(_database(EVENT | {'label_id': id})))
    with pytest.raises(BadInput, match='label_id'): _annotations(path)

@pytest.mark.parametrize('name', ['model.levels', 'model.dim', 'model.max_steps', 'train.epochs', 'train.batch', 'data.window', 'inference.top_k'])
def test_settings_far_off_are_refused_by_name(name):
    for value in ('5' + '0'*9, 10**400, -1, 'many', 1e308):
        with pytest.raises(BadInput, match=name): Config.preset('stampsav').override({name: value})

def test_time_grows_with_the_file_and_not_faster():
    text = '{' + ', '.join(f'"{i}": 1' for i in (*range(40_000), 39_999)) + '}'
    start = time.perf_counter()
    with pytest.raises(ValueError, match='twice'): parse_json(text)
    with pytest.raises(ValueError, match='deep'): parse_json('['*10**6)
    assert time.perf_counter() - start < 5

def test_a_header_is_not_believed(tmp_path):
    "In a process that may not have the memory that the header asks for"
    import numpy as np
    with open(tmp_path/'x.npy', 'wb') as f:
        np.lib.format.write_array_header_1_0(f, dict(descr='<f4', fortran_order=False, shape=(3*10**9, 4)))
        f.write(bytes(100))
    program = f'''
import resource, numpy
from loco.core.files import read_array
from loco.core.errors import BadInput
resource.setrlimit(resource.RLIMIT_AS, (4 << 30,)*2)
try: read_array({str(tmp_path/"x.npy")!r})
except BadInput as e: print(e)'''
    out = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, cwd=fuzz.ROOT)
    assert 'x.npy cannot be read (its header announces 48,000,000,000 bytes' in out.stdout, out

def test_editors_marks_are_read_over(valid, tmp_path):
    path, raw, read = valid['annotations']
    path.write_bytes(b'\xef\xbb\xbf' + raw)
    assert len(read(path)) == 2
    path.write_bytes(raw)

def test_pipes_and_folders_are_not_waited_for(tmp_path):
    import os
    os.mkfifo(tmp_path/'pipe.json')
    for name in ('pipe.json', '.'):
        with pytest.raises(BadInput): read_json(tmp_path/name)
    with pytest.raises(Error): read_array(tmp_path)

@pytest.mark.parametrize('kind', ['complex64', 'bool', 'datetime64[s]'])
def test_a_known_cause_is_not_called_a_damaged_file(kind, tmp_path):
    "Advice to fetch a file again that is whole"
    import numpy as np
    np.save(tmp_path/'x.npy', np.zeros(3, kind))
    with pytest.raises(BadInput, match='not real numbers') as seen: read_array(tmp_path/'x.npy')
    assert 'fetch' not in str(seen.value) and str(tmp_path) in str(seen.value)
