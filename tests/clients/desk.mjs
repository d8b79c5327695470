// An approver's browser at the approval desk: node desk.mjs URL TOKEN ID…
//
// Real Chromium without scripts (the pages need none), driven as a person would. Prints one JSON
// document of what was seen; the case in Rust says what it should be. Each ID is a pending approval.
import { chromium } from "playwright-core";

const [url, token, first, second, third] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});
const seen = { complaints: [] };

async function context(options) {
  const made = await browser.newContext({ javaScriptEnabled: false, ...options });
  // A site of somebody else, answered without a network.
  await made.route("http://evil.test/**", (route) =>
    route.fulfill({ contentType: "text/html", body: evil[new URL(route.request().url()).pathname] }),
  );
  const page = await made.newPage();
  page.on("dialog", (dialog) => {
    seen.complaints.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("pageerror", (error) => seen.complaints.push(`error: ${error.message}`));
  return page;
}

const decision = (id) => `${url}/approvals/${id}/decision`;
const evil = {
  "/link": `<a href="${url}/approvals/${second}">look</a>`,
  "/form": `<form method="post" action="${decision(second)}"><input name="verdict" value="grant">
    <input name="version" value="1"><input name="csrf" value=""><button>win</button></form>`,
  "/frame": `<iframe src="${url}/approvals/${second}"></iframe>`,
};

try {
  // Without a mouse: sign in, open the oldest, grant it.
  const page = await context({ colorScheme: "light" });
  await page.goto(`${url}/approvals/${first}`);
  seen.sent_to_sign_in = new URL(page.url()).pathname;
  // The field takes the focus by itself; a person would see the cursor before typing.
  await page.locator("#token:focus").waitFor();
  await page.keyboard.type(token);
  await page.keyboard.press("Enter");
  await page.waitForURL(`${url}/approvals/${first}`);
  seen.content = await page.locator("pre").innerText();
  seen.scripts_in_page = await page.locator("script").count();
  seen.reason_is_labelled = await page.getByLabel("Reason").count();
  await page.getByRole("button", { name: "Grant" }).focus();
  await page.keyboard.press("Enter");
  await page.getByText("Revoke the grant").waitFor();
  seen.after_grant = await page.locator("h1 .state").innerText();

  // From another site: a link leads in, a form and a frame do not.
  await page.goto("http://evil.test/link");
  await page.getByText("look").click();
  await page.getByText("Your decision").waitFor();
  seen.link_leads_to = new URL(page.url()).pathname;
  await page.goto("http://evil.test/form");
  const [answer] = await Promise.all([
    page.waitForResponse(decision(second)),
    page.getByText("win").click(),
  ]);
  seen.foreign_form = answer.status();
  await page.goto("http://evil.test/frame");
  seen.framed = await page.frames()[1].locator("main").count();

  // By phone, in the dark: refuse, first without a reason.
  const phone = await context({
    colorScheme: "dark",
    viewport: { width: 360, height: 740 },
    isMobile: true,
    hasTouch: true,
  });
  await phone.goto(url);
  await phone.getByLabel("token").fill(token);
  await phone.getByRole("button", { name: "Sign in" }).tap();
  seen.waiting = await phone.getByRole("heading", { name: "Waiting" }).innerText();
  await phone.getByText(second).tap();
  seen.wider_than_the_phone = await phone.locator("main").evaluate(() => {
    const page = document.documentElement;
    return page.scrollWidth > page.clientWidth;
  });
  await phone.getByRole("button", { name: "Refuse" }).tap();
  seen.without_a_reason = await phone.getByRole("alert").innerText();
  await phone.getByLabel("Reason").fill("not on a Friday");
  await phone.getByRole("button", { name: "Refuse" }).tap();
  await phone.getByRole("heading", { level: 1 }).getByText("refused").waitFor();
  seen.history = await phone.locator("tbody tr:last-child td").allInnerTexts();

  // With scripts allowed, what the policy of the page forbids does not run.
  const scripted = await context({ javaScriptEnabled: true });
  await scripted.goto(url);
  await scripted.getByLabel("token").fill(token);
  await scripted.getByRole("button", { name: "Sign in" }).click();
  await scripted.goto(`${url}/approvals/${third}`);
  seen.injected_script_ran = await scripted.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
    return window.ran === true;
  });
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}
