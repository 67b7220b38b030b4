"use strict";
// What all of serve.js uses, which is sent after it as one file: elements, times, and words for people who cannot see.
const $ = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const clock = (seconds) => {
  const tenths = Math.round(seconds * 10);
  const minutes = Math.floor(tenths / 600);
  return `${minutes}:${((tenths % 600) / 10).toFixed(1).padStart(4, "0")}`;
};

// What happens, for people who cannot see it.
let saidTimer = 0;
function say(text) {
  $("#said").textContent = text;
  clearTimeout(saidTimer);
  saidTimer = setTimeout(() => { $("#said").textContent = ""; }, 2500);
}
