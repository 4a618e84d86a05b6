//! What a request costs of custom kinds: expressions over its row.

use brimful_core::CUSTOM_KINDS;

use super::row::RowView;
use super::template::Templates;
use super::{OpenError, shown};

/// One custom kind of units: images, pages, seconds of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitExpression {
    /// Name of the limit that counts them, for messages.
    pub name: String,
    /// A Jinja expression over the row, without braces; it gives a whole number.
    pub expression: String,
}

impl UnitExpression {
    /// Name of its template.
    fn template(&self) -> String {
        format!("--limit {}", self.name)
    }
}

/// Compiles the expressions into `templates`.
pub(super) fn compile(
    templates: &mut Templates,
    units: &[UnitExpression],
) -> Result<(), OpenError> {
    for unit in units {
        let text = &unit.expression;
        // Else one expression could end here and text begin, which is no number.
        if ["{{", "}}", "{%", "%}", "{#", "#}"]
            .iter()
            .any(|mark| text.contains(mark))
        {
            return Err(OpenError::Braces {
                name: shown(&unit.name),
            });
        }
        templates.add(unit.template(), &format!("{{{{ {text} }}}}"))?;
    }
    Ok(())
}

/// What the row costs of each kind, in their order; or what is wrong with it.
pub(super) fn of_row(
    templates: &Templates,
    units: &[UnitExpression],
    row: &RowView<'_>,
    index: u64,
) -> Result<[u64; CUSTOM_KINDS], String> {
    let mut costs = [0; CUSTOM_KINDS];
    for (cost, unit) in costs.iter_mut().zip(units) {
        let text = templates.text(&unit.template(), row, index)?;
        *cost = text.trim().parse().map_err(|_| {
            let UnitExpression { name, expression } = unit;
            format!(
                "limit `{name}` counts `{expression}`, which is {}; it must give a whole number, \
                 0 or more",
                shown(&text)
            )
        })?;
    }
    Ok(costs)
}
