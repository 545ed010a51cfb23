"use strict";
// The theme button, on every page that has one: system, dark, light; kept in a cookie so that the server draws it right at once.
{
  const button = document.getElementById("theme");
  const THEMES = ["system", "dark", "light"];
  const root = document.documentElement;
  const show = (name) => {
    if (name === "system") delete root.dataset.theme; else root.dataset.theme = name;
    button.textContent = "Theme: " + name;
  };
  show(root.dataset.theme || "system");
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme || "system") + 1) % THEMES.length];
    show(next);
    document.cookie = "affidavit_theme=" + next + "; path=/; max-age=31536000; samesite=strict";
  });
}
