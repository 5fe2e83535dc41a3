//! A server with the tools, resources and prompts that MCP's conformance suite asks for.
//!
//! `catalogue.json` has them, and the results of the tools that do nothing else.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::request::Parts;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CompleteRequestParams, CompleteResult,
    ContentBlock, ElicitRequestParams, ErrorData, GetPromptRequestParams, GetPromptResponse,
    GetPromptResult, Implementation, JsonObject, ListPromptsResult, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ProgressNotificationParam,
    ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult, ServerCapabilities,
    ServerConfig, SubscribeRequestParams, UnsubscribeRequestParams,
};
use rmcp::service::{RequestContext, ServiceError};
use rmcp::{RoleServer, ServerHandler};
use serde_json::{Value, from_value, json};
use tokio::time::sleep;

use crate::sessions::Sessions;

pub(crate) struct Tools {
    sessions: Arc<Sessions>,
}

type Context = RequestContext<RoleServer>;

impl Tools {
    pub(crate) const fn new(sessions: Arc<Sessions>) -> Self {
        Self { sessions }
    }

    /// Ends the response before its result, which the client then comes back for.
    async fn reconnect(&self, context: &Context) -> CallToolResult {
        let parts = context.extensions.get::<Parts>();
        let session = parts.and_then(|parts| parts.headers.get("mcp-session-id"));
        let session = session.and_then(|id| id.to_str().ok());
        self.sessions
            .end_response(session.unwrap_or_default(), &context.id);
        sleep(PAUSE).await;
        text("the result of a call whose response was ended")
    }
}

impl ServerHandler for Tools {
    #[expect(deprecated, reason = "clients of today's protocol log")]
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_completions()
            .enable_logging()
            .enable_prompts()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_tools()
            .build();
        let this = Implementation::new("mcp", env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities).with_server_info(this)
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: Context,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = call.arguments.unwrap_or_default();
        let result = match &*call.name {
            "count" => {
                let to = arguments.get("to").and_then(Value::as_u64);
                let to = to.unwrap_or_default().min(1000);
                let steps: Vec<u64> = (1..=to).collect();
                report(&context, &steps, to).await
            }
            "test_tool_with_progress" => report(&context, &[0, 50, 100], 100).await,
            "test_tool_with_logging" => log(&context).await,
            "test_sampling" => sample(&context, &arguments).await,
            "test_reconnection" => Ok(self.reconnect(&context).await),
            name => match CATALOGUE["forms"].get(name) {
                Some(form) => ask(&context, &arguments, form).await,
                None => return Ok(look_up::<CallToolResult>("results", name)?.into()),
            },
        };
        Ok(result.unwrap_or_else(|error| failure(&error)).into())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListToolsResult, ErrorData> {
        parse(json!({ "tools": CATALOGUE["tools"] }))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourcesResult, ErrorData> {
        parse(CATALOGUE["resources"].clone())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        parse(CATALOGUE["templates"].clone())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: Context,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let id = request.uri.strip_prefix("test://template/");
        let Some(id) = id.and_then(|id| id.strip_suffix("/data")) else {
            return Ok(look_up::<ReadResourceResult>("contents", &request.uri)?.into());
        };
        let data = json!({ "id": id, "templateTest": true, "data": format!("Data for ID: {id}") });
        let content =
            json!({ "uri": request.uri, "mimeType": "application/json", "text": data.to_string() });
        Ok(parse::<ReadResourceResult>(json!({ "contents": [content] }))?.into())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        // The resources do not change.
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: Context) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: Context,
    ) -> Result<ListPromptsResult, ErrorData> {
        parse(CATALOGUE["prompts"].clone())
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: Context,
    ) -> Result<GetPromptResponse, ErrorData> {
        let mut prompt: Value = look_up("messages", &request.name)?;
        fill(&mut prompt, &request.arguments.unwrap_or_default());
        Ok(parse::<GetPromptResult>(prompt)?.into())
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: Context,
    ) -> Result<CompleteResult, ErrorData> {
        parse(json!({ "completion": { "values": [] } }))
    }

    #[expect(deprecated, reason = "clients of today's protocol use it")]
    async fn set_level(
        &self,
        _: rmcp::model::SetLevelRequestParams,
        _: Context,
    ) -> Result<(), ErrorData> {
        Ok(())
    }
}

/// Sends a progress notification for each step, if the client asks for them.
async fn report(context: &Context, steps: &[u64], total: u64) -> ToolResult {
    for step in steps {
        if let Some(token) = context.meta.get_progress_token() {
            let progress = ProgressNotificationParam::new(token, *step as f64);
            let progress = progress.with_total(total as f64);
            context.peer.notify_progress(progress).await?;
        }
        sleep(PAUSE).await;
    }
    Ok(text(format!("done after {} steps", steps.len())))
}

#[expect(deprecated, reason = "clients of today's protocol use it")]
async fn log(context: &Context) -> ToolResult {
    use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam};

    for step in ["started", "processing data", "completed"] {
        let message = json!(format!("Tool execution {step}"));
        let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, message);
        context.peer.notify_logging_message(message).await?;
        sleep(PAUSE).await;
    }
    Ok(text("logged"))
}

#[expect(deprecated, reason = "clients of today's protocol use it")]
async fn sample(context: &Context, arguments: &JsonObject) -> ToolResult {
    let prompt = json!({ "type": "text", "text": arguments.get("prompt") });
    let message = json!({ "role": "user", "content": prompt });
    let request = json!({ "messages": [message], "maxTokens": 100 });
    let request = parse(request).map_err(ServiceError::McpError)?;
    let answer = context.peer.create_message(request).await?;
    let content = answer.message.content.first();
    let answer = content.and_then(|content| content.as_text());
    let answer = answer.map_or("", |answer| &answer.text);
    Ok(text(format!("LLM response: {answer}")))
}

/// Asks the user to fill in a form.
async fn ask(context: &Context, arguments: &JsonObject, form: &Value) -> ToolResult {
    let message = arguments.get("message").and_then(Value::as_str);
    let question = ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: message.unwrap_or("Please fill in the form").to_owned(),
        requested_schema: parse(form.clone()).map_err(ServiceError::McpError)?,
    };
    let answer = context.peer.create_elicitation(question).await?;
    let (action, content) = (json!(answer.action), answer.content.unwrap_or_default());
    let action = action.as_str().unwrap_or_default();
    Ok(text(format!(
        "Elicitation completed: action={action}, content={content}"
    )))
}

type ToolResult = Result<CallToolResult, ServiceError>;

fn text(text: impl Into<String>) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

fn failure(error: &ServiceError) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(error.to_string())])
}

/// Replaces `{name}` in all texts by the argument of that name.
fn fill(value: &mut Value, arguments: &JsonObject) {
    match value {
        Value::String(text) => {
            for (name, argument) in arguments {
                let argument = argument.as_str().unwrap_or_default();
                *text = text.replace(&format!("{{{name}}}"), argument);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| fill(value, arguments)),
        Value::Object(values) => values.values_mut().for_each(|value| fill(value, arguments)),
        _ => {}
    }
}

/// Returns an entry of the catalogue.
fn look_up<T: serde::de::DeserializeOwned>(kind: &str, name: &str) -> Result<T, ErrorData> {
    match CATALOGUE[kind].get(name) {
        Some(entry) => parse(entry.clone()),
        None => {
            let sentence = format!("there is no {name}; the lists have the names");
            Err(ErrorData::invalid_params(sentence, None))
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    from_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

static CATALOGUE: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("catalogue.json")).expect("the catalogue is JSON")
});

const PAUSE: Duration = Duration::from_millis(50);
