"""Clicks through the API page as a person would: register, log in, authorise, read, log out.

    python api_page.py http://127.0.0.1:5000 screenshot.png

The address may have a path prefix of the server.

Fails if a step fails, if the browser's console has an unexpected message, or if a request goes to another server.
"""

import json
import sys
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE = 30  # seconds; a test that waits for it fails


def start_browser() -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"]:
        options.add_argument(argument)  # root has no sandbox
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    browser.set_window_size(1200, 1180)  # of which the page gets a little less
    return browser


class Page:
    """The API page in a browser."""

    def __init__(self, browser: webdriver.Chrome):
        self.browser = browser

    def find(self, selector: str, within=None):
        """The element, once it is visible."""
        place = within or self.browser

        def look(_):
            return next((it for it in place.find_elements(By.CSS_SELECTOR, selector) if it.is_displayed()), None)

        return WebDriverWait(self.browser, PATIENCE).until(look, selector)

    def click(self, selector: str, within=None):
        element = self.find(selector, within)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def type(self, selector: str, text: str, within=None):
        element = self.find(selector, within)
        element.clear()
        element.send_keys(text)

    def execute(self, operation: str, **parameters: str) -> tuple[int, dict]:
        """Opens an operation, fills it in, executes it. Returns status and body."""
        block = self.find(f"#operations-{operation}")
        if "is-open" not in block.get_attribute("class"):
            self.click(".opblock-summary-control", block)
        for name, value in parameters.items():
            self.type("textarea" if name == "body" else f"tr[data-param-name={name}] input", value, block)
        if block.find_elements(By.CSS_SELECTOR, ".btn-clear"):
            self.click(".btn-clear", block)
        self.click(".execute", block)
        answer = self.find(".live-responses-table .response", block)
        status = int(self.find(".response-col_status", answer).text.split()[0])
        return status, json.loads(self.find("pre", answer).text)

    def authorise(self, scheme: str, token: str):
        self.click(".auth-wrapper .authorize")
        dialog = self.find(".modal-ux")
        form = next(form for form in dialog.find_elements(By.CSS_SELECTOR, ".auth-container") if scheme in form.text)
        self.type("input", token, form)
        self.click(".authorize", form)
        self.click(".btn-done", form)


def walk(page: Page):
    anna = json.dumps({"username": "anna", "password": "correct horse"})
    assert page.execute("users-register", body=anna) == (201, {"message": "User created successfully."})
    status, tokens = page.execute("sessions-log_in", body=anna)
    assert status == 200, tokens
    page.authorise("access_token", tokens["access_token"])
    status, user = page.execute("users-get_user", id="me")
    assert (status, user["username"]) == (200, "anna"), user
    screenshot(page, "users-get_user", sys.argv[2])
    assert page.execute("sessions-log_out") == (200, {"message": "Sucessfully logout"})
    status, refusal = page.execute("users-get_user", id="me")
    assert (status, refusal["error"]) == (401, "token_revoked"), refusal


def screenshot(page: Page, operation: str, path: str):
    block = page.find(f"#operations-{operation}")
    page.browser.execute_script("arguments[0].scrollIntoView()", block)
    page.browser.save_screenshot(path)


def check_console(browser: webdriver.Chrome):
    """The only message is Chromium's own about the status of the refusal."""
    complaints = [entry["message"] for entry in browser.get_log("browser") if entry["level"] != "INFO"]
    refused = [complaint for complaint in complaints if "/user/me" in complaint and "status of 401" in complaint]
    assert len(refused) == 1 and complaints == refused, complaints


def check_requests(browser: webdriver.Chrome, origin: str):
    """Every request of every target went to the server itself."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    paths = {urlsplit(url[len(origin) :]).path for url in urls if url.startswith(origin + "/")}
    assert {"/", "/swagger-ui", "/openapi.json", "/login", "/user/me"} <= paths, paths
    elsewhere = [url for url in urls if not url.startswith((origin + "/", "data:"))]
    assert not elsewhere, elsewhere


if __name__ == "__main__":
    origin = sys.argv[1]
    browser = start_browser()
    try:
        browser.get(origin + "/")
        assert (browser.current_url, browser.title) == (origin + "/swagger-ui", "Gatelet API")
        walk(Page(browser))
        check_console(browser)
        check_requests(browser, origin)
    finally:
        browser.quit()
