"The report of events: it takes no text for markup, names what is wrong, and is what the widget shows"
import json, re
import numpy as np
import pytest
from loco.core.errors import BadInput, Missing
from loco.media.report import pick_frames, report_page, spectrum, write_report

CLIP = 'data/stampsav/clips/test_0154.mp4'
NASTY = '</script><img src=x onerror=alert(1)> & "é" {title}'
FOUND = dict(label=['dog', 'cock', NASTY, 'dog'], start=[2., 8.5, 12., 15.], end=[6., 11., 14.5, 19.], score=[.9, .6, .35, .1])

def items(root):
    curves = np.arange(0, 21, .25), ['dog', 'cock'], np.stack([np.linspace(0, 1, 84), np.linspace(1, 0, 84)], 1)
    first = dict(video=root/CLIP, duration=21.08, detections=FOUND, truth=dict(label=['dog'], start=[2.2], end=[5.5]), scores=curves,
                 film=np.full((8, 32, 40, 3), 90, np.uint8), spectrum=np.random.default_rng(0).normal(size=(40, 200)))
    return [first, dict(video=root/'data/stampsav/clips/test_0018.mp4', name=f'second {NASTY}', duration=20.01, detections={**FOUND, 'score': [.5]*4})]

@pytest.fixture(scope='module')
def report(root, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp('report')/'a b#%.html', items(root), title=f'Report {NASTY}')

def test_page_holds_no_address_and_no_markup_of_names(root):
    page = report_page(items(root), title=NASTY)
    assert not re.search(r'https?://(?!www\.w3\.org/2000/svg)', page) and page.count('</script>') == 2 and '<img src=x' not in page

def test_numbers_that_are_none(root):
    "Scores that are no number, empty tracks, no events: still a page whose data are JSON"
    one = dict(video=None, name='v', duration=3, detections=dict(label=['a'], start=[0], end=[1], score=[float('nan')]), scores=([0., 1.], ['a'], [[np.nan], [2.]]), film=[], spectrum=np.zeros((4, 0)))
    page = report_page([one, dict(video=None, name='w', detections=dict(label=[], start=[], end=[], score=[]))])
    data = json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.S)[1], parse_constant=lambda o: pytest.fail(o))
    assert data['items'][0]['curves']['values'] == [[0, 1000]] and data['items'][1]['events'] == []

def test_wrong_items_are_named(tmp_path):
    good = dict(video=None, name='v', duration=3, detections=dict(label=['a'], start=[0], end=[1]))
    for wrong, error, says in ((dict(duration=-1), BadInput, 'video v: the duration is -1'), (dict(detections=dict(label=['a'], start=[2], end=[1])), BadInput, 'video v: event 1'),
                               (dict(scores=([0.], ['a'], [[.1, .2]])), BadInput, 'score curves'), (dict(video=tmp_path/'gone.mp4'), Missing, 'gone.mp4')):
        with pytest.raises(error, match=says): write_report(tmp_path/'r.html', [{**good, **wrong}])
    assert not any(tmp_path.iterdir())

def test_spectrum_of_any_sound():
    for n in (0, 1, 500, 5000, 16_000*30):
        s = spectrum(np.zeros(n, np.float32))
        assert s.ndim == 2 and s.shape[1] <= 1200 and np.isfinite(s).all()
    assert pick_frames(np.zeros((3, 2, 2, 3), np.uint8), n=16).shape[0] == 3

def test_watch_shows_what_the_report_shows(tmp_path):
    "The widget holds the page with the video inside, and saves it; a wrong file name is said, not raised"
    from loco.media.watch import show
    (tmp_path/'v.mp4').write_bytes(b'0'*100)
    box = show([dict(video=tmp_path/'v.mp4', duration=20, detections=FOUND)], title=NASTY)
    page, (name, save, said) = box.children[0].value, box.children[1].children
    assert page.startswith('<iframe srcdoc="') and page.count('"') == 6 and 'data:video/mp4;base64' in page and box.items[0]['detections'] is FOUND
    name.value = str(tmp_path/'saved.html')
    save.click()
    assert (tmp_path/'saved.html').is_file() and said.value.startswith('written')
    name.value = str(tmp_path/'v.mp4'/'no.html')
    save.click()
    assert 'v.mp4' in said.value
