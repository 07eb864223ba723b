//! Parses a subset of GraphQL: one operation with variables, and selections with arguments and inline fragments.

use serde_json::{Map, Value};

/// An operation with its variables replaced by their values.
#[derive(Debug, Default)]
pub(super) struct Operation {
    /// `query`, `mutation` or `subscription`.
    pub kind: String,
    /// The types of the variables, without list brackets and exclamation marks.
    pub types: Vec<String>,
    pub selections: Vec<Selection>,
}

#[derive(Debug)]
pub(super) enum Selection {
    Field {
        alias: Option<String>,
        name: String,
        arguments: Map<String, Value>,
        selections: Vec<Selection>,
    },
    /// `... on TYPE { … }`
    Fragment {
        on: String,
        selections: Vec<Selection>,
    },
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Number(String),
    Mark(char),
    Spread,
}

/// Parses a query. The error has the form of a real server's.
pub(super) fn parse(query: &str, variables: &Value) -> Result<Operation, String> {
    let tokens = tokens(query)?;
    let mut parser = Parser { tokens, at: 0, variables };
    let mut operation = Operation { kind: "query".to_owned(), ..Operation::default() };
    if let Some(Token::Name(kind)) = parser.peek() {
        operation.kind = kind.clone();
        parser.at += 1;
        if matches!(parser.peek(), Some(Token::Name(_))) {
            parser.at += 1;
        }
        if parser.consume('(') {
            while !parser.consume(')') {
                parser.declaration(&mut operation.types)?;
            }
        }
    }
    operation.selections = parser.selections()?;
    Ok(operation)
}

struct Parser<'v> {
    tokens: Vec<Token>,
    at: usize,
    variables: &'v Value,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn consume(&mut self, mark: char) -> bool {
        let is_next = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(is_next);
        is_next
    }

    fn expect(&mut self, mark: char) -> Result<(), String> {
        if self.consume(mark) { Ok(()) } else { Err(self.syntax_error()) }
    }

    fn syntax_error(&self) -> String {
        format!("Invalid syntax: offending token {:?} at token {}", self.peek(), self.at)
    }

    fn name(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.syntax_error()),
        }
    }

    /// Parses the declaration of a variable, such as `$first: Int = 10`.
    fn declaration(&mut self, types: &mut Vec<String>) -> Result<(), String> {
        self.expect('$')?;
        self.name()?;
        self.expect(':')?;
        while self.consume('[') {}
        types.push(self.name()?);
        while self.consume(']') || self.consume('!') {}
        if self.consume('=') {
            self.value()?;
        }
        Ok(())
    }

    fn selections(&mut self) -> Result<Vec<Selection>, String> {
        self.expect('{')?;
        let mut selections = Vec::new();
        while !self.consume('}') {
            if self.peek() == Some(&Token::Spread) {
                self.at += 1;
                if self.name()? != "on" {
                    return Err(self.syntax_error());
                }
                let on = self.name()?;
                selections.push(Selection::Fragment { on, selections: self.selections()? });
                continue;
            }
            let mut name = self.name()?;
            let mut alias = None;
            if self.consume(':') {
                alias = Some(std::mem::replace(&mut name, self.name()?));
            }
            let mut arguments = Map::new();
            if self.consume('(') {
                while !self.consume(')') {
                    let name = self.name()?;
                    self.expect(':')?;
                    if let Some(value) = self.value()? {
                        arguments.insert(name, value);
                    }
                }
            }
            let inner = if self.peek() == Some(&Token::Mark('{')) { self.selections()? } else { Vec::new() };
            selections.push(Selection::Field { alias, name, arguments, selections: inner });
        }
        Ok(selections)
    }

    /// Parses a value; `None` for a variable without a value.
    fn value(&mut self) -> Result<Option<Value>, String> {
        if self.consume('$') {
            let name = self.name()?;
            return Ok(self.variables.get(&name).cloned());
        }
        if self.consume('[') {
            let mut items = Vec::new();
            while !self.consume(']') {
                items.extend(self.value()?);
            }
            return Ok(Some(Value::from(items)));
        }
        if self.consume('{') {
            let mut entries = Map::new();
            while !self.consume('}') {
                let name = self.name()?;
                self.expect(':')?;
                if let Some(value) = self.value()? {
                    entries.insert(name, value);
                }
            }
            return Ok(Some(Value::Object(entries)));
        }
        let value = match self.peek() {
            Some(Token::Text(text)) => Value::from(text.as_str()),
            Some(Token::Number(digits)) => serde_json::from_str(digits).map_err(|_| self.syntax_error())?,
            Some(Token::Name(name)) => match name.as_str() {
                "null" => Value::Null,
                "true" => Value::from(true),
                "false" => Value::from(false),
                word => Value::from(word),
            },
            _ => return Err(self.syntax_error()),
        };
        self.at += 1;
        Ok(Some(value))
    }
}

fn tokens(query: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '.' if rest.starts_with("...") => {
                tokens.push(Token::Spread);
                3
            }
            '{' | '}' | '(' | ')' | '[' | ']' | ':' | '$' | '!' | '=' => {
                tokens.push(Token::Mark(first));
                1
            }
            '"' => {
                let end = rest[1..].find('"').ok_or("Invalid syntax: a text does not end")? + 2;
                tokens.push(Token::Text(rest[1..end - 1].to_owned()));
                end
            }
            '-' | '0'..='9' => {
                let end =
                    rest[1..].find(|c: char| !matches!(c, '0'..='9' | '.' | 'e' | 'E')).map_or(rest.len(), |at| at + 1);
                tokens.push(Token::Number(rest[..end].to_owned()));
                end
            }
            '_' | 'a'..='z' | 'A'..='Z' => {
                let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
                tokens.push(Token::Name(rest[..end].to_owned()));
                end
            }
            _ if first.is_whitespace() || first == ',' => first.len_utf8(),
            _ => return Err(format!("Invalid syntax: offending token '{first}'")),
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_query_is_parsed_with_its_variables() {
        let query = r#"query Q($first: Int = 3, $f: [FilterInput!]) { # a comment
            a: alerts(first: $first, filters: $f, sort: {by: "x", order: ASC}, after: $absent) { id ... on T { b } } }"#;
        let operation = parse(query, &json!({"first": 7, "f": [{"fieldId": "id"}]})).unwrap();
        assert_eq!((operation.kind.as_str(), operation.types.len()), ("query", 2));
        let Selection::Field { alias, name, arguments, selections } = &operation.selections[0] else { panic!() };
        assert_eq!((alias.as_deref(), name.as_str(), selections.len()), (Some("a"), "alerts", 2));
        assert_eq!(
            Value::Object(arguments.clone()),
            json!({"first": 7, "filters": [{"fieldId": "id"}], "sort": {"by": "x", "order": "ASC"}})
        );
        assert_eq!(parse("mutation { x }", &Value::Null).unwrap().kind, "mutation");
        for invalid in ["{", "query { a(", "{ a: }", "{ \"a }", "{ a(b: ) }", "?"] {
            assert!(parse(invalid, &Value::Null).is_err(), "{invalid}");
        }
    }
}
