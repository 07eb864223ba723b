// Looks at a report as a person would: `node report.mjs CHROMIUM PUPPETEER FILE LANES [DIRECTORY]`.
// Fails with what a person would complain about. With a directory, it puts screenshots there.

import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [chromium, modules, file, lanes, directory] = process.argv.slice(2);
const puppeteer = createRequire(path.join(modules, "x.js"))("puppeteer-core");

const complaints = [];
const complain = (text) => complaints.push(text);

const browser = await puppeteer.launch({
  executablePath: chromium,
  headless: "shell",
  args: ["--no-sandbox", "--disable-gpu", "--no-proxy-server", "--disable-dev-shm-usage"],
});

for (const [name, width, dark] of [["report-light", 1280, false], ["report-narrow", 1270, false], ["report-dark", 1440, true], ["report-phone", 390, false]]) {
  const phone = width < 500;
  const height = phone ? 1500 : 900;
  const page = await browser.newPage();
  await page.setJavaScriptEnabled(false);
  await page.setViewport({ width, height, isMobile: phone, hasTouch: phone });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }]);
  page.on("console", (message) => complain(`${name}: console: ${message.text()}`));
  page.on("request", (request) => {
    if (!request.isNavigationRequest()) complain(`${name}: asks for ${request.url()}`);
  });
  const log = await page.createCDPSession();
  await log.send("Log.enable");
  log.on("Log.entryAdded", ({ entry }) => complain(`${name}: log: ${entry.text}`));
  await page.goto(pathToFileURL(file).href, { waitUntil: "networkidle0" });
  // Scripts of the page do not run; these do, from outside of it.
  const seen = await page.evaluate((phone) => {
    const shown = (element) => element.getClientRects().length > 0 && element.offsetWidth > 1;
    const cells = [...document.querySelectorAll("tbody tr:first-child > *")];
    const pieces = (cell) => {
      const range = document.createRange();
      range.selectNodeContents(cell);
      return new Set([...range.getClientRects()].map((rectangle) => rectangle.top)).size;
    };
    return {
      overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
      outside: cells.filter((cell) => cell.getBoundingClientRect().right > innerWidth).length,
      headings: [...document.querySelectorAll("thead th")].filter((cell) => cell.offsetParent && shown(cell.parentElement.parentElement)).length,
      labels: cells.filter((cell) => getComputedStyle(cell, "::before").content !== "none").length,
      broken: [...document.querySelectorAll("td.n")].filter((cell) => pieces(cell) > 1).map((cell) => cell.innerText),
      cut: [...document.querySelectorAll(`${phone ? "" : "thead th,"} tbody tr > :nth-child(-n + 3)`)]
        .filter((cell) => pieces(cell) > cell.innerText.trim().split(/[\s-]+/).length)
        .map((cell) => cell.innerText),
      cells: cells.length,
      rows: document.querySelectorAll("tbody tr").length,
      hostile: document.querySelectorAll("script, img, [onerror], [src], link").length,
      background: getComputedStyle(document.body).backgroundColor,
      color: getComputedStyle(document.body).color,
      title: document.title,
    };
  }, phone);
  if (seen.overflow > 0 || seen.outside > 0) complain(`${name}: wider than ${width} px by ${seen.overflow} px; ${seen.outside} cells outside`);
  if (seen.rows !== Number(lanes)) complain(`${name}: ${seen.rows} rows`);
  if (phone && seen.labels !== seen.cells - 1) complain(`${name}: ${seen.labels} of ${seen.cells - 1} cells have labels`);
  if (!phone && (seen.headings !== seen.cells || seen.labels > 0)) complain(`${name}: ${seen.headings} headings for ${seen.cells} columns`);
  if (seen.cut.length > 0) complain(`${name}: cut words: ${[...new Set(seen.cut)]}`);
  if (seen.broken.length > 0) complain(`${name}: broken numbers: ${seen.broken}`);
  if (seen.hostile > 0) complain(`${name}: ${seen.hostile} elements that load or run something`);
  if (!seen.title.startsWith("s1-forwarder report")) complain(`${name}: title ${seen.title}`);
  const lightness = (color) => color.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
  // The canvas is transparent: the colour of the text says which scheme it is.
  if (dark !== lightness(seen.color) > 380) complain(`${name}: not ${dark ? "dark" : "light"}`);
  if (directory) await page.screenshot({ path: path.join(directory, `${name}.png`), clip: { x: 0, y: 0, width, height } });
  await page.close();
}

// On paper, each page has the headings, and no row is cut.
const page = await browser.newPage();
await page.goto(pathToFileURL(file).href);
await page.emulateMediaType("print");
const paper = await page.evaluate(() => ({
  head: getComputedStyle(document.querySelector("thead")).display,
  row: getComputedStyle(document.querySelector("tbody tr")).breakInside,
}));
if (paper.head !== "table-header-group" || paper.row !== "avoid") complain(`print: ${JSON.stringify(paper)}`);
const pdf = await page.pdf({ preferCSSPageSize: true });
if (pdf.length < 10_000) complain(`print: a file of ${pdf.length} bytes`);

await browser.close();
if (complaints.length > 0) {
  console.error(complaints.join("\n"));
  process.exit(1);
}
console.log("no complaints");
