//! The report as Markdown.

use std::fmt::{self, Display, Formatter};

use super::{Curve, Report};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Judged: {}.\n", self.subject)?;
        for note in &self.notes {
            writeln!(f, "Left out: {note}.\n")?;
        }
        self.rankings(f)?;
        self.savings(f)?;
        self.levels(f)?;
        self.asides(f)?;
        self.robust(f)
    }
}

impl Report {
    fn rankings(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Ranking: APGR with its 95 % interval (a coin flip has 0.500), and the share of strong calls that recovers half and four"
        )?;
        writeln!(f, "fifths of the gap.\n")?;
        writeln!(f, "| pair | source | prompts | weak | strong | router | CPT50 | CPT80 | length | keywords |")?;
        writeln!(f, "|:--|:--|--:|--:|--:|--:|--:|--:|--:|--:|")?;
        for ranking in &self.rankings {
            let [weak, strong] = ranking.right;
            let [router, length, keywords] = &ranking.curves;
            write!(f, "| {} | {} | {} | {weak:.3} | {strong:.3} ", ranking.pair, ranking.source, ranking.prompts)?;
            match router {
                None => write!(f, "| – | – | – ")?,
                Some(Curve { apgr, interval: [low, high], cpt50, cpt80 }) => write!(
                    f,
                    "| **{apgr:.3}** ({low:.3}–{high:.3}) | {:.0} % | {:.0} % ",
                    100.0 * cpt50,
                    100.0 * cpt80
                )?,
            }
            for curve in [length, keywords] {
                write!(f, "| {} ", curve.as_ref().map_or("–".to_owned(), |curve| format!("{:.3}", curve.apgr)))?;
            }
            writeln!(f, "|")?;
        }
        writeln!(f)
    }

    fn savings(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Saved of always-opus' bill, at a share of its right answers.\n")?;
        writeln!(f, "| right answers | router | mix of tiers, blindly | who knows the outcome |")?;
        writeln!(f, "|--:|--:|--:|--:|")?;
        for saving in &self.savings {
            let [accuracy, router, mix, oracle] =
                [saving.accuracy, saving.router, saving.mix, saving.oracle].map(|share| 100.0 * share);
            writeln!(f, "| {accuracy:.0} % | **{router:.1} %** | {mix:.1} % | {oracle:.1} % |")?;
        }
        writeln!(f, "\nThe dials: what they may lose, what they lost, what they saved.\n")?;
        writeln!(f, "| may lose | lost | saved |\n|--:|--:|--:|")?;
        for dial in &self.dials {
            let [allowed, lost, saved] = [dial.allowed, dial.lost, dial.saved].map(|share| 100.0 * share);
            writeln!(f, "| {allowed:.0} % | {lost:.1} % | {saved:.1} % |")?;
        }
        writeln!(f)
    }

    fn levels(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Chances against outcomes.\n")?;
        writeln!(f, "| tier | source | prompts | expected | right | calibration error |\n|:--|:--|--:|--:|--:|--:|")?;
        for row in &self.levels {
            let level = &row.level;
            writeln!(
                f,
                "| {} | {} | {} | {:.3} | {:.3} | {:.3} |",
                row.tier, row.source, level.prompts, level.expected, level.right, level.error
            )?;
        }
        writeln!(f)
    }

    fn asides(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Lengths of answers: half are within this factor of what was expected.\n")?;
        writeln!(f, "| tier | answers | factor |\n|:--|--:|--:|")?;
        for row in &self.lengths {
            writeln!(f, "| {} | {} | {:.2} |", row.tier, row.answers, row.factor)?;
        }
        writeln!(f, "\nAuthors' opinions on prompts that nothing was trained on.\n")?;
        writeln!(f, "| their tier | prompts | mean chance of haiku |\n|:--|--:|--:|")?;
        for row in &self.opinions {
            writeln!(f, "| {} | {} | {:.3} |", row.tier, row.prompts, row.haiku)?;
        }
        writeln!(f)
    }

    fn robust(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Choices that change (balanced).\n\n| change | choices |\n|:--|--:|")?;
        for flips in &self.flips {
            writeln!(f, "| {} | {:.2} % |", flips.change, 100.0 * flips.share)?;
        }
        writeln!(f, "\nTime of a reading.\n\n| characters | p50 | p99 |\n|--:|--:|--:|")?;
        for latency in &self.latencies {
            writeln!(f, "| {} | {:.0} µs | {:.0} µs |", latency.chars, latency.p50_us, latency.p99_us)?;
        }
        Ok(())
    }
}
