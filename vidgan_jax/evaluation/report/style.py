"""The page around a report: its style, light and dark, and the one line of script."""

import base64
import hashlib

CSS = """
:root{color-scheme:light dark;--paper:#faf9f6;--card:#fff;--ink:#1d2127;--soft:#5a626d;
--line:#dfdcd4;--generated:#c2410c;--real:#2563a8;--red:#b91c1c;--green:#15803d;--blue:#1d4ed8;
--warn:#8a4b00;--warnpaper:#fff4dc;--warnline:#e8c98a;--chip:#f0eee8;--shade:#0004}
@media (prefers-color-scheme:dark){:root{--paper:#14171b;--card:#1c2026;--ink:#e8e6e1;
--soft:#a3abb6;--line:#343a43;--generated:#fb923c;--real:#6cb0f5;--red:#f87171;--green:#4ade80;
--blue:#93b4ff;--warn:#ffd591;--warnpaper:#33280f;--warnline:#6b5220;--chip:#2a3038;
--shade:#000c}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
overflow-wrap:break-word}
main,header,footer{max-width:70rem;margin:0 auto;padding:0 1.25rem}
header{padding-top:2.6rem}
h1{font-size:clamp(1.6rem,4.5vw,2.3rem);line-height:1.15;letter-spacing:-.02em;margin:0 0 .5rem}
h2{font-size:1.3rem;letter-spacing:-.01em;margin:3rem 0 .35rem;scroll-margin-top:1rem}
h3{font-size:1rem;margin:0}
p{margin:.35rem 0 .9rem;max-width:44rem}
.soft,figcaption span,caption,.meaning,small{color:var(--soft)}
.lead{color:var(--soft);margin:0}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;list-style:none;padding:.9rem 0 0;
margin:1.1rem 0 0;
border-top:1px solid var(--line)}
a{color:var(--real);text-underline-offset:.2em}
:focus-visible{outline:2px solid var(--real);outline-offset:2px}
code,pre{font:.84em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
code{background:var(--chip);padding:.08em .38em;border-radius:4px}
pre{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.8rem 1rem;
overflow-x:auto;user-select:all;margin:.6rem 0}
.cards{display:grid;gap:1rem;
grid-template-columns:repeat(auto-fill,minmax(min(100%,17.5rem),1fr));
margin:1rem 0}
.card,.chart{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:1rem 1.1rem}
.card{display:flex;flex-direction:column;gap:.3rem}
.card header{padding:0;display:flex;justify-content:space-between;align-items:baseline;gap:.5rem;
margin:0}
.way{font-size:.78rem;color:var(--soft);white-space:nowrap}
.value{font-size:2.15rem;font-weight:650;line-height:1.15;letter-spacing:-.02em;
font-variant-numeric:tabular-nums}
.value small{font-size:.95rem;font-weight:400;letter-spacing:0}
.card dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem .8rem;margin:.1rem 0;
font-size:.86rem;
font-variant-numeric:tabular-nums}
.card dt{color:var(--soft)}.card dd{margin:0;text-align:right}
.meaning{font-size:.86rem;line-height:1.45;margin:0}
.foot{margin:auto 0 0;padding-top:.4rem;font-size:.8rem;color:var(--soft)}
.warnings{background:var(--warnpaper);border:1px solid var(--warnline);border-radius:12px;
padding:.8rem 1.1rem;margin:1.4rem 0 0;color:var(--warn)}
.warnings h2{margin:0;font-size:1rem}.warnings ul{margin:.3rem 0 0;padding-left:1.2rem}
.warned{color:var(--warn);font-size:.84rem;margin:0}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:12px;margin:.9rem 0;
background:linear-gradient(to right,var(--card) 50%,transparent) left/3rem 100% no-repeat local,
linear-gradient(to left,var(--card) 50%,transparent) right/3rem 100% no-repeat local,
linear-gradient(to right,var(--shade),transparent) left/1.1rem 100% no-repeat,
linear-gradient(to left,var(--shade),transparent) right/1.1rem 100% no-repeat var(--card)}
.scroll::-webkit-scrollbar{height:.6rem}
.scroll::-webkit-scrollbar-thumb{background:var(--soft);border-radius:.3rem;
border:.15rem solid var(--card)}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
caption{text-align:left;padding:.7rem .9rem .2rem;font-size:.86rem}
caption span{position:sticky;left:.9rem;display:inline-block;
max-width:min(60rem,calc(100vw - 4rem))}
tbody th,thead th:first-child{position:sticky;left:0;background:var(--card);
box-shadow:inset -1px 0 var(--line)}
th,td{padding:.5rem .9rem;text-align:right;vertical-align:top;white-space:nowrap;
border-top:1px solid var(--line)}
thead th{border-top:0;font-weight:600}
thead small{display:block;font-weight:400;font-size:.76rem}
th:first-child,td.left,th.left{text-align:left}
tbody th{font-weight:500}
th small,td small{display:block;font-size:.78rem}
.numbers th,.numbers td{padding:.5rem .55rem}
.numbers thead th,.numbers td small{white-space:normal}.numbers code{white-space:nowrap}
td.share{background:linear-gradient(var(--chip) 0 0) right .45rem center/
calc(var(--share)*(100% - 1.6rem)) calc(100% - .45rem) no-repeat}
td.wide{white-space:normal;text-align:left;min-width:14rem}
details{margin:.6rem 0}summary{cursor:pointer}
.fields td{white-space:normal;overflow-wrap:anywhere;text-align:left}
.fields{border-top:1px solid var(--line)}
.charts{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));
margin:1rem 0}
.chart{margin:0;max-width:35rem}
figcaption strong{display:block;font-weight:600}figcaption span{font-size:.86rem;display:block}
.chart svg{display:block;width:100%;height:auto;margin-top:.5rem;overflow:visible}
svg text{fill:var(--soft);font:13px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
svg .label{font-size:13px}
.grid{stroke:var(--line);fill:none}.axis,.tick{stroke:var(--soft);fill:none}
.level{stroke:var(--soft);stroke-dasharray:5 4;stroke-width:1.4;fill:none}
.line{fill:none;stroke-width:2.2;stroke-linejoin:round}.line.dashed{stroke-dasharray:3 4}
.line.generated{stroke:var(--generated)}.line.real{stroke:var(--real)}.line.red{stroke:var(--red)}
.line.green{stroke:var(--green)}.line.blue{stroke:var(--blue)}
circle.generated,rect.band,.band.generated{fill:var(--generated)}
circle.real,.band.real{fill:var(--real)}
circle.red{fill:var(--red)}circle.green{fill:var(--green)}circle.blue{fill:var(--blue)}
.band{opacity:.2}
.bar{width:100%;max-width:18rem;height:auto}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.15rem 1rem;margin:.4rem 0 0;padding:0;
font-size:.84rem;color:var(--soft)}
.swatch{display:inline-block;width:1.3em;height:0;border-top:3px solid;vertical-align:.28em;
margin-right:.4em;border-color:var(--generated)}
.swatch.real{border-color:var(--real)}.swatch.red{border-color:var(--red)}
.swatch.green{border-color:var(--green)}.swatch.blue{border-color:var(--blue)}
.swatch.dashed{border-top-style:dotted}.swatch.floor{border-color:var(--soft);
border-top:2px dashed}
.clips{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));
align-items:start;margin:1rem 0}
.clips figure,.picture{margin:0;background:var(--card);border:1px solid var(--line);
border-radius:12px;
padding:1rem 1.1rem}
.clips .rows{display:grid;grid-template-columns:minmax(0,auto) minmax(0,1fr);gap:.7rem;
margin-top:.6rem}
.clips ol{list-style:none;margin:0;padding:0;display:grid;align-items:center;
font-size:.78rem;line-height:1.2;color:var(--soft);max-width:7.5rem}
video,.picture img{display:block;width:100%;height:auto;border-radius:6px;
image-rendering:pixelated}
.picture{margin:1rem 0}.picture img{margin-top:.6rem}
.picture .scroll{border:0;margin:.6rem 0 0;border-radius:6px}.picture .scroll img{margin:0;
min-width:34rem}
.picture img.large{image-rendering:auto}
footer{border-top:1px solid var(--line);margin-top:3.5rem;padding-top:1rem;padding-bottom:3rem;
font-size:.86rem;color:var(--soft)}
@media (max-width:34rem){main,header,footer{padding-left:.9rem;padding-right:.9rem}
.card,.chart,.clips figure,.picture{padding:.85rem .9rem}h2{margin-top:2.3rem}}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media print{nav,video{break-inside:avoid}.card,.chart{break-inside:avoid}}
"""
# Clips play by themselves, but not for those who asked their system for less motion.
SCRIPT = (
  "if(matchMedia('(prefers-reduced-motion: reduce)').matches)"
  "document.querySelectorAll('video').forEach(v=>{v.autoplay=false;v.pause()})"
)


def page(title: str, body: str) -> str:
  """A whole document.

  Its policy lets a browser load nothing from anywhere and run no script but the one above, whatever
  the body holds.

  Args:
    title: escaped.
    body: HTML.
  """
  digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
  policy = (
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
    f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
  )
  return (
    '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{title}</title>\n<link rel="icon" href="data:,">\n<style>{CSS}</style>\n</head>\n'
    f"<body>\n{body}\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
  )
