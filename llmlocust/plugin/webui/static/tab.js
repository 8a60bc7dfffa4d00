// Puts the live page into the tab LLM of Locust's own page. Locust draws that tab as an empty table, and names the open
// tab in the address. It removes elements that it did not draw itself.
(function () {
  "use strict";
  const frame = document.createElement("iframe");
  frame.src = "./llm/";
  frame.title = "LLM";
  frame.id = "llm-live";
  frame.style.cssText = "display:block;width:100%;border:0;min-height:60vh;color-scheme:normal";

  frame.addEventListener("load", function () {
    let inside;
    try { inside = frame.contentDocument.body; } catch { return; }
    const fit = function () { frame.style.height = inside.offsetHeight + 8 + "px"; };
    new ResizeObserver(fit).observe(inside);
    fit();
  });

  function place() {
    const tabs = document.querySelector('[role="tablist"]');
    const open = tabs && tabs.querySelector('[aria-selected="true"]');
    const isOurs = open && open.textContent.trim() === "LLM";
    if (!isOurs) {
      if (frame.isConnected) frame.remove();
      return;
    }
    const main = document.querySelector("main") || document.body;
    const table = main.querySelector("table");
    const content = table ? table.parentElement : null;
    if (content && !content.hidden && !table.querySelector("th")) content.style.display = "none";
    const holder = content ? content.parentElement : main;
    if (frame.parentElement !== holder) holder.appendChild(frame);
  }

  new MutationObserver(place).observe(document.getElementById("root") || document.body, {
    childList: true, subtree: true, attributes: true, attributeFilter: ["aria-selected"],
  });
  place();
})();
