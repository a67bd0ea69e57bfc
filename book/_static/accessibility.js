// What the theme labels otherwise than it shows, and a role that WAI-ARIA has withdrawn.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("summary[aria-label], .search-button-field").forEach((e) => e.removeAttribute("aria-label"));
  document.querySelectorAll("[role=doc-biblioentry]").forEach((e) => e.setAttribute("role", "listitem"));
});

// What is moved sideways within its own box can be moved by keyboard too.
window.addEventListener("load", () => {
  document.querySelectorAll("figure, .text_html, .math").forEach((e) => {
    if (e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === "auto") e.tabIndex = 0;
  });
});
