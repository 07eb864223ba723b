// Looks at the pages of a worker as a person would: `node page.mjs CHROMIUM PUPPETEER URL [DIRECTORY]`.
// Fails with what a person would complain about. With a directory, it puts screenshots there.

import { createRequire } from "node:module";
import path from "node:path";

const [chromium, modules, base, directory] = process.argv.slice(2);
const puppeteer = createRequire(path.join(modules, "x.js"))("puppeteer-core");

const complaints = [];
const complain = (text) => complaints.push(text);

const browser = await puppeteer.launch({
  executablePath: chromium,
  headless: "shell",
  args: ["--no-sandbox", "--disable-gpu", "--no-proxy-server", "--disable-dev-shm-usage"],
});

async function open(name, address, { width, height, dark, picture = true }) {
  const page = await browser.newPage();
  await page.setJavaScriptEnabled(false);
  await page.setViewport({ width, height, isMobile: width < 500, hasTouch: width < 500 });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }]);
  page.on("console", (message) => complain(`${name}: console: ${message.text()}`));
  page.on("pageerror", (error) => complain(`${name}: ${error}`));
  page.on("requestfailed", (request) => complain(`${name}: failed: ${request.url()}`));
  const log = await page.createCDPSession();
  await log.send("Log.enable");
  log.on("Log.entryAdded", ({ entry }) => complain(`${name}: log: ${entry.text}`));
  const response = await page.goto(base + address, { waitUntil: "networkidle0" });
  if (response.status() !== 200) complain(`${name}: status ${response.status()}`);
  // Scripts of the page do not run; these do, from outside of it.
  const seen = await page.evaluate(() => ({
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    styled: getComputedStyle(document.querySelector(".skip")).position === "absolute",
    background: getComputedStyle(document.body).backgroundColor,
    color: getComputedStyle(document.body).color,
    tables: document.querySelectorAll("table").length,
  }));
  if (seen.overflow > 0) complain(`${name}: scrolls sideways by ${seen.overflow} px at ${width} px`);
  if (!seen.styled) complain(`${name}: the style was refused`);
  if (seen.tables === 0) complain(`${name}: no table`);
  const lightness = (color) => color.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
  if (dark !== lightness(seen.background) < lightness(seen.color)) complain(`${name}: not ${dark ? "dark" : "light"}`);
  if (directory && picture) await page.screenshot({ path: path.join(directory, `${name}.png`), clip: { x: 0, y: 0, width, height } });
  return page;
}

// Nothing is cut: no table is wider than the page, and no name of ordinary length is broken.
for (const width of [1000, 1100, 1200, 1350, 1500]) {
  for (const address of ["/", "/?state=running", "/pipelines/bolt", "/pipelines/acme"]) {
    const page = await open(`wide-${width}`, address, { width, height: 900, dark: false, picture: false });
    const found = await page.evaluate(() => ({
      cut: [...document.querySelectorAll(".wide")].map((table) => table.scrollWidth - table.clientWidth),
      broken: [...document.querySelectorAll(".name > *")]
        .filter((name) => name.getClientRects().length > 1 || name.offsetHeight > 1.9 * parseFloat(getComputedStyle(name).lineHeight))
        .map((name) => name.innerText),
    }));
    if (found.cut.some((pixels) => pixels > 0)) complain(`${address} at ${width} px: a table is cut by ${found.cut} px`);
    if (found.broken.length > 0) complain(`${address} at ${width} px: broken names: ${found.broken}`);
    await page.close();
  }
}

const desktop = { width: 1280, height: 900 };
const phone = { width: 390, height: 844 };
const overview = await open("status-light", "/", { ...desktop, dark: false });
await open("status-dark", "/", { ...desktop, dark: true });
await open("status-phone", "/?state=failing", { ...phone, height: 1600, dark: false });
await open("pipeline-light", "/pipelines/bolt", { ...desktop, height: 1500, dark: false });
await open("pipeline-phone", "/pipelines/bolt", { ...phone, dark: true });

// By keyboard: the first stop is the skip link, which shows itself, and its target exists.
await overview.keyboard.press("Tab");
const focus = await overview.evaluate(() => {
  const element = document.activeElement;
  const box = element.getBoundingClientRect();
  return {
    skips: element.classList.contains("skip") && document.querySelector(element.getAttribute("href")) !== null,
    visible: box.left >= 0 && box.top >= 0 && getComputedStyle(element).outlineStyle !== "none",
  };
});
if (!focus.skips || !focus.visible) complain(`keyboard: the first stop is no visible skip link: ${JSON.stringify(focus)}`);

// The form works without scripts: a filter, then a link of a heading, then the link of a row.
const follow = async (action) => Promise.all([overview.waitForNavigation(), action()]);
await overview.type("input[name=pipeline]", "bolt");
await follow(() => overview.keyboard.press("Enter"));
const rows = await overview.$$eval("#pipelines ~ .wide tbody", (rows) => rows.map((row) => row.innerText));
if (rows.length === 0 || !rows.every((row) => row.includes("bolt"))) complain(`filter: ${JSON.stringify(rows)}`);
await follow(() => overview.click("thead a[href*='sort=lag']"));
if (!overview.url().includes("sort=lag") || !overview.url().includes("pipeline=bolt")) complain(`sort: ${overview.url()}`);
const sorted = await overview.$$eval("th[aria-sort]", (cells) => cells.map((cell) => cell.innerText));
if (sorted.length !== 1 || !sorted[0].startsWith("Lag")) complain(`aria-sort: ${JSON.stringify(sorted)}`);
await follow(() => overview.click("#pipelines ~ .wide tbody a"));
if (!overview.url().endsWith("/pipelines/bolt")) complain(`row: ${overview.url()}`);
const hostile = await overview.$$eval("script, img, [onerror]", (found) => found.length);
if (hostile > 0) complain("an error text became markup");
await follow(() => overview.click("nav a"));
if (!overview.url().startsWith(base) || overview.url().includes("pipelines")) complain(`back: ${overview.url()}`);

await browser.close();
if (complaints.length > 0) {
  console.error(complaints.join("\n"));
  process.exit(1);
}
console.log("no complaints");
