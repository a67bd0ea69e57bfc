// What the theme labels otherwise than it shows, and a role that WAI-ARIA has withdrawn.
document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("summary[aria-label], .search-button-field").forEach((e) => e.removeAttribute("aria-label"));
  document.querySelectorAll("[role=doc-biblioentry]").forEach((e) => e.setAttribute("role", "listitem"));
});
