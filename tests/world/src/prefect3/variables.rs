//! The operations on variables.

use super::{
    Variable,
    answer::{Answer, Outcome, detail},
    fields::Fields,
    routes::Call,
    times,
};

/// `POST /variables/`
pub(super) fn create(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::of(call.body)?.only(&["name", "value", "tags"])?;
    let name = fields.required_text("name")?;
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || matches!(letter, '-' | '_');
    if !name.chars().all(fits) {
        let message =
            "Value error, Variable name must only contain lowercase letters, numbers, and dashes or underscores.";
        return Err(fields.refuse("name", "value_error", message));
    }
    let (value, tags) = (fields.get("value").cloned().unwrap_or_default(), fields.texts("tags")?.unwrap_or_default());
    if call.prefect3.variables.iter().any(|variable| variable.name == name) {
        return Err(detail(409, format!("A variable with the name '{name}' already exists.")));
    }
    let variable = Variable { id: times::new_id(), created: call.now, name, value, tags };
    let row = call.prefect3.variable_row(&variable);
    call.prefect3.variables.push(variable);
    Ok(Answer::json(201, row))
}

/// `GET /variables/name/{name}`
pub(super) fn read(call: &mut Call<'_>) -> Outcome {
    let name = call.parameter(0);
    let variable = call.prefect3.variables.iter().find(|variable| variable.name == name);
    let variable = variable.ok_or_else(|| detail(404, "Variable not found."))?;
    Ok(Answer::ok(call.prefect3.variable_row(variable)))
}
