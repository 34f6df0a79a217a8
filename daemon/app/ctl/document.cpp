// SPDX-License-Identifier: Apache-2.0
#include "app/ctl/document.hpp"

#include "base/strings.hpp"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <string_view>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

namespace fallbackd::ctl {

namespace {

namespace json = boost::json;

/// Whether a parser of YAML, of version 1.1 too, reads the text as the string that it is.
bool isPlainWord(std::string_view text) {
  if (text.empty() || std::isalpha(static_cast<unsigned char>(text.front())) == 0) return false;
  std::string low(text);
  for (char& c : low) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const char* word : {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}) {
    if (low == word) return false;
  }
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return c < 0x80 && (std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '/' || c == '@');
  });
}

std::string scalar(const json::value& value) {
  if (value.is_string() && isPlainWord(value.get_string())) return std::string(value.get_string());
  return json::serialize(value);  // a double-quoted string of JSON is one of YAML
}

void writeYaml(const json::value& value, std::size_t indent, std::string& out);

/// After "key:" or "-": on the same line, or below it.
void writeBelow(const json::value& value, std::size_t indent, std::string& out) {
  const auto* object = value.if_object();
  const auto* array = value.if_array();
  if ((object == nullptr || object->empty()) && (array == nullptr || array->empty())) {
    out.append(" ").append(scalar(value)).append("\n");
    return;
  }
  out.append("\n");
  writeYaml(value, indent, out);
}

void writeYaml(const json::value& value, std::size_t indent, std::string& out) {
  if (const auto* object = value.if_object(); object != nullptr && !object->empty()) {
    for (const auto& entry : *object) {
      out.append(indent, ' ').append(scalar(json::string(entry.key()))).append(":");
      writeBelow(entry.value(), indent + 2, out);
    }
  } else if (const auto* array = value.if_array(); array != nullptr && !array->empty()) {
    for (const auto& item : *array) {
      out.append(indent, ' ').append("-");
      writeBelow(item, indent + 2, out);
    }
  } else {
    out.append(indent, ' ').append(scalar(value)).append("\n");
  }
}

}  // namespace

void addFormat(CLI::App& command, std::string& format) {
  command.add_option("-o,--output", format, "table, json or yaml")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->capture_default_str();
}

std::string yamlText(const json::value& value) {
  std::string out;
  writeYaml(value, 0, out);
  return out;
}

void printDocument(const json::value& value, const std::string& format) {
  const auto text = asUtf8(format == "yaml" ? yamlText(value) : json::serialize(value) + "\n");
  std::printf("%s", text.c_str());
}

}  // namespace fallbackd::ctl
