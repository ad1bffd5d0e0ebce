// Uses a rendered page as a reader would, and returns what it found: the body of an async function.
const all = (selector) => [...document.querySelectorAll(selector)];
const said = () => all("#live-draw output").map((one) => one.textContent);
const labels = (place) => all(`${place} .bars`).map((one) => one.getAttribute("aria-label"));
const press = async (selector, at = 0) => {
  all(selector)[at].click();
  await new Promise((done) => setTimeout(done, 200));
};

const found = { tables: all("main table").map((table) => table.closest("[id]").id), csv: {} };
for (const button of all("button.csv")) found.csv[button.getAttribute("aria-label")] = button.csv();

const slider = document.querySelector("#live-soft-labels input");
slider.value = 6;
slider.dispatchEvent(new Event("input"));
found.soft = labels("#live-soft-labels");

const canvas = document.querySelector("#live-draw canvas"), box = canvas.getBoundingClientRect();
// Places are pixels of the page, from the corner of the canvas.
const put = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, {
  bubbles: true, clientX: box.left + x, clientY: box.top + y,
}));
const stroke = (x, y, size) => {
  put("pointerdown", x, y);
  put("pointermove", x + size, y);
  put("pointermove", x + 0.4 * size, y + size);
  put("pointerup", x, y);
};
stroke(24, 24, 80);
found.left = labels("#live-draw");
await press("#live-draw button");
found.cleared = [...labels("#live-draw"), ...said()];
stroke(104, 84, 80);  // a whole number of the canvas's pixels away
found.right = labels("#live-draw");
found.samples = [];
for (let digit = 0; digit < 10; digit++) {
  await press("#live-draw .samples button", 1 + digit);
  found.samples.push(said());
}

const last = "#tbl-answers th:last-child";
const column = () => all("#tbl-answers tbody tr").map((row) => row.lastElementChild.textContent);
found.sorted = [["as it is", column()]];
for (let time = 0; time < 2; time++) {
  await press(`${last} button`);
  found.sorted.push([document.querySelector(last).getAttribute("aria-sort"), column()]);
}

await press("button.enlarge");
const dialog = document.querySelector("dialog");
found.enlarged = dialog.open;
const closed = new Promise((done) => dialog.addEventListener("close", () => setTimeout(done)));
dialog.click();
await closed;
found.closed = !document.querySelector("dialog");

return found;
