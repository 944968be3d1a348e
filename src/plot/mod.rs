//! Pictures for reports: strings of SVG that need no font, script or file beside them, and follow the reader's light or
//! dark scheme.

pub(crate) mod axes;

use std::fmt::Write;

use self::axes::Panel;

/// Of every picture, in its own units.
pub(crate) const WIDTH: f64 = 1000.0;
/// The same.
pub(crate) const HEIGHT: f64 = 640.0;
/// Where panels begin,
pub(crate) const LEFT: f64 = 76.0;
/// and where they end.
pub(crate) const RIGHT: f64 = 976.0;
/// What the time of a simulated run counts from.
pub(crate) const OF_THE_RUN: &str = "time from the start of the run";

const STYLE: &str = "\
svg{--bg:#fff;--ink:#1c2530;--dim:#5d6975;--grid:#e4e8ec;--demand:#8a94a0;--sent:#2b6cb0;--lost:#d12f3a;--law:#b45f06;--odds:#0b7a6f;--mark:#7c4dbd}\
@media(prefers-color-scheme:dark){svg{--bg:#12171d;--ink:#e8ecf0;--dim:#9aa5b1;--grid:#28313a;--demand:#7d8894;--sent:#63a4e8;--lost:#ff6b6b;--law:#f0a04b;--odds:#4fd1c0;--mark:#b794f6}}\
text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;fill:var(--dim)}\
.title{font-size:16px;font-weight:600;fill:var(--ink)}.line{fill:none;stroke-linejoin:round}\
.grid{stroke:var(--grid);stroke-width:1}.axis{stroke:var(--dim);stroke-width:1}\
.demand{stroke:var(--demand);stroke-width:1.2;stroke-dasharray:5 3}.capacity{stroke:var(--ink);stroke-width:1.8}\
.sent{stroke:var(--sent);stroke-width:1.1}.accepted{fill:var(--sent);fill-opacity:.22}.lost{fill:var(--lost);shape-rendering:crispEdges}\
.odds{stroke:var(--odds);stroke-width:1.6}.law{stroke:var(--law);stroke-width:1.4}.one{stroke:var(--ink);stroke-width:1;stroke-dasharray:2 4}\
.fault{fill:var(--mark);fill-opacity:.10}.moment{stroke:var(--mark);stroke-width:1.2;stroke-dasharray:3 3}.mark{fill:var(--mark)}\
.unmeasured{fill:var(--dim);fill-opacity:.12}";

/// How a legend shows a class.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Swatch {
    /// As a line.
    Line,
    /// As a patch.
    Area,
}

/// An empty picture, to be drawn in.
pub(crate) fn begin() -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\
         <style>{STYLE}</style><rect width=\"{WIDTH}\" height=\"{HEIGHT}\" style=\"fill:var(--bg)\"/>\n"
    )
}

/// The whole picture.
pub(crate) fn end(mut out: String) -> String {
    out += "</svg>\n";
    out
}

/// Over a panel: class, shape and words of what is in it.
pub(crate) fn legend(out: &mut String, entries: &[(&str, Swatch, &str)], panel: &Panel) {
    let (mut x, y) = (panel.left, panel.top - 12.0);
    for (class, swatch, words) in entries {
        let _ = match swatch {
            Swatch::Line => write!(out, "<path class=\"line {class}\" d=\"M{x} {:.1}h22\"/>", y - 4.0),
            Swatch::Area => {
                write!(out, "<rect class=\"{class}\" x=\"{x}\" y=\"{:.1}\" width=\"22\" height=\"10\"/>", y - 9.0)
            }
        };
        let _ = writeln!(out, "<text x=\"{:.1}\" y=\"{y:.1}\">{words}</text>", x + 28.0);
        x += 28.0 + 6.6 * words.chars().count() as f64 + 18.0;
    }
}

/// Text as XML takes it: names of services are anybody's.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace(|c: char| c.is_control(), " ")
}
