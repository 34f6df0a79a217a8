// SPDX-License-Identifier: Apache-2.0
#include "config/document.hpp"

#include "base/strings.hpp"
#include "config/text_form.hpp"

#include <exception>
#include <sstream>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

namespace fallbackd::config {

namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

/// Ends the parse; the problem has been reported.
struct Stop : std::exception {};

/// Builds the tree from yaml-cpp's events. Its own tree would resolve aliases silently and forget tags.
class Builder : public YAML::EventHandler {
 public:
  Builder(const std::string& file, const TextPlaces& places, Problems& problems)
      : file_(file), places_(places), problems_(problems) {}

  [[nodiscard]] Node take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    ++documents_;
    // At some characters yaml-cpp makes no progress and reports empty documents for ever.
    if (documents_ > 1 && mark.pos == documentMark_.pos) {
      problems_.add(position(mark), "malformed YAML: nothing can begin with this character",
                    "put quotes around the text");
      throw Stop{};
    }
    documentMark_ = mark;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override {
    if (documents_ == 1) put(Node::Kind::null, mark);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override {
    refuse(mark, "aliases (*name) are not supported");
    put(Node::Kind::null, mark).reported = true;
  }
  void OnAnchor(const YAML::Mark& mark, const std::string& name) override {
    if (!name.empty()) refuse(mark, "anchors (&name) are not supported");
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    checkTag(mark, tag);
    const auto at = byteOf(mark);
    // yaml-cpp treats the end of the file as the end of the quotes.
    const bool quoted = tag == "!" && anchor == 0 && at < places_.text().size() &&
                        (places_.text()[at] == '"' || places_.text()[at] == '\'');
    if (quoted && !quoteEnds(places_.text(), at)) {
      problems_.add(position(mark), "malformed YAML: this quote is never closed", "add the closing quote");
      throw Stop{};
    }
    put(Node::Kind::scalar, mark).text = text;
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {
    open(Node::Kind::list, mark, tag);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {
    open(Node::Kind::map, mark, tag);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  static std::size_t byteOf(const YAML::Mark& mark) {
    return mark.is_null() ? 0 : static_cast<std::size_t>(mark.pos);
  }
  [[nodiscard]] Position position(const YAML::Mark& mark) const {
    const auto [line, column] = places_.of(byteOf(mark));
    return {file_, line, column};
  }
  void refuse(const YAML::Mark& mark, const std::string& what) {
    problems_.add(position(mark), what, "write the value out where it is needed");
  }
  void checkTag(const YAML::Mark& mark, const std::string& tag) {
    // yaml-cpp's own marks for an untagged scalar: "?" if plain, "!" if quoted.
    if (!tag.empty() && tag != "?" && tag != "!") {
      problems_.add(position(mark), "tags (" + quoted(tag) + ") are not supported", "remove the tag");
    }
  }

  Node& put(Node::Kind kind, const YAML::Mark& mark) {
    if (documents_ > 1) {
      problems_.add(position(documentMark_), "a second YAML document begins here",
                    "write one file for each; if that was not intended, check the indentation");
      throw Stop{};
    }
    const auto [line, column] = places_.of(byteOf(mark));
    Node node;
    node.kind = kind;
    node.line = line;
    node.column = column;
    if (open_.empty()) {
      root_ = std::move(node);
      return root_;
    }
    auto& parent = *open_.back();
    if (kind == Node::Kind::null && parent.kind == Node::Kind::map && parent.items.size() % 2 == 1) {
      node.line = parent.items.back().line;
      node.column = parent.items.back().column;
    }
    return parent.items.emplace_back(std::move(node));
  }

  void open(Node::Kind kind, const YAML::Mark& mark, const std::string& tag) {
    checkTag(mark, tag);
    if (open_.size() == kMaxDepth) {
      problems_.add(position(mark),
                    "lists and mappings are nested more than " + std::to_string(kMaxDepth) + " levels deep");
      throw Stop{};
    }
    // The pointer stays valid: a node's siblings are added only after it is closed.
    open_.push_back(&put(kind, mark));
  }

  const std::string& file_;
  const TextPlaces& places_;
  Problems& problems_;
  int documents_ = 0;
  YAML::Mark documentMark_ = YAML::Mark::null_mark();
  Node root_;
  std::vector<Node*> open_;
};

/// What the author may have done to cause yaml-cpp's message.
std::string adviceFor(const TextPlaces& places, std::size_t byte) {
  const auto line = places.lineOf(byte);
  const auto indentation = line.substr(0, line.find_first_not_of(" \t"));
  return indentation.find('\t') == std::string_view::npos ? "" : "indent with spaces, not tabs";
}

}  // namespace

std::string_view describe(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::scalar:
      return "a single value";
    case Node::Kind::list:
      return "a list";
    case Node::Kind::map:
      return "a mapping";
    case Node::Kind::null:
      break;
  }
  return "nothing";
}

std::optional<Node> parseDocument(const std::string& file, std::string_view text, Problems& problems) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  const TextPlaces places(text);
  const auto positionOf = [&](std::size_t byte) {
    const auto [line, column] = places.of(byte);
    return Position{file, line, column};
  };
  if (const auto fault = findFault(text)) {
    problems.add(positionOf(fault->byte), fault->message, fault->suggestion);
    return std::nullopt;
  }
  Builder builder(file, places, problems);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Stop&) {
    return std::nullopt;
  } catch (const YAML::Exception& error) {
    const auto byte = error.mark.is_null() ? 0 : static_cast<std::size_t>(error.mark.pos);
    problems.add(positionOf(byte), "malformed YAML: " + error.msg, adviceFor(places, byte));
    return std::nullopt;
  }
  auto root = builder.take();
  if (root.kind == Node::Kind::null) {
    problems.add({file, 1, 1}, "is empty", "begin with apiVersion: fallbackd.io/v1");
    return std::nullopt;
  }
  return root;
}

}  // namespace fallbackd::config
