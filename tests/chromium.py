"Headless Chromium, for the tests that look at pages; without it they are skipped, and one line says how to get it"
import shutil, sys, time
import pytest
from common import NBS

sys.path.insert(0, str(NBS/'_site'))
import vendor

FLAGS = '''--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update
    --disable-sync --disable-dev-shm-usage --window-size=1300,1600'''.split()

def find(*names): return next(filter(None, map(shutil.which, names)), None)

BINARY, DRIVER = find('chromium', 'chromium-browser', 'google-chrome'), find('chromedriver')
HERE = bool(BINARY and DRIVER)
HOW = 'it needs a browser: `make test` as root on Debian installs one, or apt-get install chromium chromium-driver npm'

@pytest.fixture(scope='session')
def browser(tmp_path_factory):
    "Headless Chromium with its console and network logs"
    if not HERE: pytest.skip(HOW)
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service
    options = webdriver.ChromeOptions()
    options.binary_location = BINARY
    for o in [*FLAGS, f'--user-data-dir={tmp_path_factory.mktemp("chromium")}']: options.add_argument(o)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield browser
    browser.quit()

def until(browser, script, seconds=20):
    "Wait for `script` to return something true"
    end = time.monotonic() + seconds
    while not (found := browser.execute_script(script)):
        assert time.monotonic() < end, f'waited {seconds} s for: {script}'
        time.sleep(.05)
    return found
