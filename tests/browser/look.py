"""The page in a real browser, as a person comes to it: form, wrong token, token, page, sign out; on a desk and a phone, light
and dark. `make page` calls it. Everything that is wrong is printed, and each step leaves a screenshot.

look.py URL DIRECTORY: the page is at URL, its token in the variable PAGE_TOKEN, and screenshots go to DIRECTORY.
"""

import os
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SCREENS = {
    "desk": {"viewport": {"width": 1280, "height": 900}},
    "phone": {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True},
}
SCHEMES = ("light", "dark")
COOKIE = "__Host-psa-page"
# Pixels: what a finger hits (WCAG 2.5.5).
FINGER = 44

# What is wrong with a document as it is shown. Contrast: WCAG 1.4.3; colours are those of the nearest background that is
# painted, and none of ours is half transparent.
LOOK = """finger => {
  const wrong = [], width = document.documentElement.clientWidth;
  const name = element => `<${element.localName} class="${element.className}"> "${element.textContent.trim().slice(0, 40)}"`;
  if (document.documentElement.scrollWidth > width) wrong.push(`it is ${document.documentElement.scrollWidth} px wide`);
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => {
    const [red, green, blue] = numbers(colour).map(part => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = element => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  for (const element of document.body.querySelectorAll("*")) {
    const box = element.getBoundingClientRect(), style = getComputedStyle(element);
    if (!element.checkVisibility() || box.width === 0) continue;
    if (box.right > width + 0.5) wrong.push(`${name(element)} ends ${Math.round(box.right - width)} px beyond the edge`);
    if (finger && element.matches("a, button, input, summary") && box.height < finger)
      wrong.push(`${name(element)} is ${Math.round(box.height)} px high`);
    const text = [...element.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
    if (!text) continue;
    const [one, other] = [light(style.color), light(ground(element))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 600);
    if (contrast < (large ? 3 : 4.5)) wrong.push(`${name(element)} has a contrast of ${contrast.toFixed(2)}`);
  }
  return wrong;
}"""


class Visit:
    """One person's way, with what went wrong."""

    def __init__(self, browser, url, screen, scheme, directory):
        self.url, self.name, self.directory = url, f"{screen}-{scheme}", directory
        self.finger = FINGER if screen == "phone" else 0
        self.context = browser.new_context(color_scheme=scheme, **SCREENS[screen])
        self.page = self.context.new_page()
        self.page.set_default_timeout(10_000)
        self.wrong, self.statuses = [], []
        self.page.on("request", self.requested)
        self.page.on("response", lambda response: self.statuses.append(response.status))
        self.page.on("console", self.said)
        self.page.on("pageerror", lambda error: self.note(f"a script fails: {error}"))

    def note(self, what):
        self.wrong.append(f"{self.name}: {what}")

    def requested(self, request):
        if not request.url.startswith((self.url, "data:")):
            self.note(f"it asks elsewhere: {request.url}")

    def said(self, message):
        # That a wrong token is refused the browser says by itself.
        if "status of 403" not in message.text:
            self.note(f"the console says: {message.text}")

    def expect(self, is_so, what):
        if not is_so:
            self.note(what)

    def look(self, step):
        for wrong in self.page.evaluate(LOOK, self.finger):
            self.note(f"{step}: {wrong}")
        self.page.screenshot(path=self.directory / f"{self.name}-{step}.png", full_page=True)

    def send(self, token):
        """Types the token, and the enter key; the status of the answer to the form."""
        before = len(self.statuses)
        self.page.get_by_label("Page token").fill(token)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")
        return self.statuses[before]

    def go(self, token):
        self.page.goto(self.url)
        self.expect(self.page.evaluate("document.activeElement.id") == "token", "the cursor is not in the form's field")
        self.look("form")
        self.expect(self.send("not-the-token-of-the-page") == 403, "a wrong token is not refused")
        self.expect(self.page.get_by_role("alert").count() == 1, "nobody says that the token is wrong")
        self.look("wrong")
        self.expect(self.send(token) == 303, "the token is not taken")
        cookies = {cookie["name"]: cookie for cookie in self.context.cookies()}
        ours = cookies.pop(COOKIE, None)
        self.expect(ours and ours["httpOnly"] and ours["secure"] and ours["sameSite"] == "Strict", f"the cookie is {ours}")
        self.expect(not cookies and self.page.evaluate("document.cookie") == "", f"there are other cookies: {cookies}")
        self.expect(self.page.locator("section.card h2").count() > 1, "no agents are shown")
        self.look("page")
        closed = self.page.locator("details:not([open]) > summary")
        while closed.count():
            closed.first.click()
        self.look("open")
        with self.page.expect_navigation():
            self.page.get_by_role("button", name="Sign out").click()
        self.expect(self.page.get_by_label("Page token").count() == 1 and not self.context.cookies(), "nobody was signed out")
        self.context.close()
        return self.wrong


def main():
    url, directory = sys.argv[1], Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    wrong = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for screen in SCREENS:
            for scheme in SCHEMES:
                found = Visit(browser, url, screen, scheme, directory).go(os.environ["PAGE_TOKEN"])
                print(f"{screen}, {scheme}: {len(found) or 'nothing'} wrong", flush=True)
                wrong += found
        browser.close()
    print("\n".join(wrong) or f"screenshots: {directory}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
