// SPDX-License-Identifier: Apache-2.0
#include "config/description.hpp"

#include <sstream>

namespace fallbackd::config {

namespace {

using Kind = Description::Kind;

std::string quote(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out.push_back('\\');
    out.push_back(c);
  }
  return out + "\"";
}

std::string childPath(const std::string& path, const Description& node, const Description& child) {
  if (node.kind == Kind::list) return path + "[]";
  if (node.kind == Kind::entries) return path + ".*";
  return path.empty() ? child.key : path + "." + child.key;
}

/// Written by hand: a JSON library would lose the order of the keys.
class SchemaWriter {
 public:
  std::string write(const Description& root) {
    out_ << "{\n  \"$schema\": \"http://json-schema.org/draft-07/schema#\",\n"
            "  \"title\": \"fallbackd.yaml\",\n";
    members(root, "", 1);
    out_ << "\n}\n";
    return out_.str();
  }

 private:
  std::string indent(int depth) { return std::string(static_cast<std::size_t>(depth) * 2, ' '); }

  void node(const Description& node, const std::string& path, int depth) {
    out_ << "{\n";
    if (const auto purpose = purposeOf(path); !purpose.empty()) {
      out_ << indent(depth + 1) << "\"description\": " << quote(purpose) << ",\n";
    }
    members(node, path, depth + 1);
    out_ << "\n" << indent(depth) << "}";
  }

  /// Scalars are read as text: 1.8 and "1.8" are the same.
  void members(const Description& node, const std::string& path, int depth) {
    const auto in = indent(depth);
    switch (node.kind) {
      case Kind::map:
        object(node, path, depth);
        break;
      case Kind::entries:
        out_ << in << "\"type\": \"object\",\n" << in << "\"additionalProperties\": ";
        this->node(*node.below[0], childPath(path, node, *node.below[0]), depth);
        break;
      case Kind::list:
        out_ << in << "\"type\": \"array\",\n" << in << "\"items\": ";
        this->node(*node.below[0], childPath(path, node, *node.below[0]), depth);
        break;
      case Kind::boolean:
        out_ << in << "\"type\": \"boolean\"";
        break;
      case Kind::number:
        out_ << in << "\"type\": \"integer\",\n"
             << in << "\"minimum\": " << node.least << ",\n"
             << in << "\"maximum\": " << node.most;
        break;
      case Kind::duration:
        out_ << in << "\"type\": [\"string\", \"integer\"],\n"
             << in << R"("pattern": "^(0|([0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h|d))+)$")";
        break;
      case Kind::bytes:
        out_ << in << "\"type\": [\"string\", \"integer\"],\n"
             << in << R"("pattern": "^[0-9]+(\\.[0-9]+)?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")";
        break;
      case Kind::choice:
        out_ << in << "\"enum\": [";
        for (std::size_t i = 0; i < node.words.size(); ++i)
          out_ << (i > 0 ? ", " : "") << quote(node.words[i]);
        out_ << "]";
        break;
      case Kind::text:
      case Kind::unknown:
        out_ << in << "\"type\": [\"string\", \"number\", \"boolean\"]";
        break;
    }
  }

  void object(const Description& node, const std::string& path, int depth) {
    const auto in = indent(depth);
    out_ << in << "\"type\": \"object\",\n" << in << "\"additionalProperties\": false,\n";
    std::string required;
    for (const auto& child : node.below) {
      if (node.required(*child)) required += (required.empty() ? "" : ", ") + quote(child->key);
    }
    if (!required.empty()) out_ << in << "\"required\": [" << required << "],\n";
    out_ << in << "\"properties\": {";
    bool first = true;
    for (const auto& child : node.below) {
      out_ << (first ? "\n" : ",\n") << indent(depth + 1) << quote(child->key) << ": ";
      this->node(*child, childPath(path, node, *child), depth + 1);
      first = false;
    }
    out_ << (first ? "}" : "\n" + in + "}");
  }

  std::ostringstream out_;
};

std::string typeOf(const Description& node) {
  switch (node.kind) {
    case Kind::map:
      return "mapping";
    case Kind::entries:
      return "mapping of names to " + typeOf(*node.below[0]) + "s";
    case Kind::list:
      if (node.below[0]->kind == Kind::choice) return "list of " + typeOf(*node.below[0]);
      if (node.below[0]->kind == Kind::number) return "list of numbers";
      return "list of " + typeOf(*node.below[0]) + "s";
    case Kind::boolean:
      return "`true` or `false`";
    case Kind::number:
      return "number, " + std::to_string(node.least) + " to " + std::to_string(node.most);
    case Kind::duration:
      return "duration";
    case Kind::bytes:
      return "bytes";
    case Kind::choice: {
      std::string text;
      for (const auto& word : node.words) text += (text.empty() ? "`" : ", `") + word + "`";
      return text;
    }
    case Kind::text:
    case Kind::unknown:
      break;
  }
  return "string";
}

void writeRows(const Description& node, const std::string& path, std::ostringstream& out) {
  for (const auto& child : node.below) {
    const auto where = childPath(path, node, *child);
    const bool item = child->key.empty();
    if (!item) {
      const auto value = node.required(*child)         ? "required, `" + child->example + "`"
                         : child->defaultValue.empty() ? ""
                                                       : "`" + child->defaultValue + "`";
      out << "| `" << where << "` | " << typeOf(*child) << " | " << value << " | " << purposeOf(where)
          << " |\n";
    }
    writeRows(*child, where, out);
  }
}

}  // namespace

std::string schemaText(const Description& root) {
  return SchemaWriter().write(root);
}

std::string referenceText(const Description& root) {
  std::ostringstream out;
  out << "# fallbackd.yaml, key by key\n\n"
         "Generated by `fallbackctl describe-config --format reference` from the code that reads the file. "
         "Unknown keys are errors.\n"
         "Durations: `250ms`, `1.5s`, `2m`, `1h30m`, `30d`. Bytes: `67108864`, `64Mi`, `1G`, at least `1Mi`. "
         "`[]` stands for each\n"
         "item of a list, `*` for each name. Drop-ins (`conf.d/*.yaml`) hold `apiVersion` and `workloads` "
         "only.\n\n";
  for (const auto& section : root.below) {
    out << "## " << section->key << "\n\n";
    if (const auto purpose = purposeOf(section->key); !purpose.empty()) out << purpose << "\n\n";
    if (section->kind == Kind::text) continue;
    out << "| key | type | default | purpose |\n| --- | --- | --- | --- |\n";
    writeRows(*section, section->key, out);
    out << "\n";
  }
  auto text = out.str();
  while (text.ends_with("\n\n")) text.pop_back();
  return text;
}

}  // namespace fallbackd::config
