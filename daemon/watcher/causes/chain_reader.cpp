// SPDX-License-Identifier: Apache-2.0
#include "watcher/causes/chain_reader.hpp"

#include <algorithm>
#include <array>

namespace fallbackd::watcher {

namespace {

using Names = Scanner::Names;

constexpr std::string_view kNotFound = ": not found";
constexpr std::string_view kRpc = "rpc error: code = ";
constexpr std::string_view kRpcText = " desc = ";

// The classes that containerd appends to a chain say how its API answers, not what happened.
constexpr std::array<std::string_view, 15> kClasses{
    "unknown",         "not found",        "already exists",    "failed precondition", "unavailable",
    "not implemented", "invalid argument", "permission denied", "resource exhausted",  "deadline exceeded",
    "internal",        "data loss",        "unauthenticated",   "out of range",        "conflict"};

bool isClass(std::string_view words) {
  return std::find(kClasses.begin(), kClasses.end(), words) != kClasses.end();
}

bool resolves(Operation operation) {
  return operation == Operation::resolve || operation == Operation::token;
}

/// Errors of a connection can be those of our own to containerd.
bool onlyOfPulls(Effect effect) {
  return effect == Effect::unauthorized || effect == Effect::not_found || effect == Effect::rate_limited ||
         effect == Effect::server_error || effect == Effect::policy;
}

}  // namespace

Place Chain::place() const {
  const auto place = placeOf(operation);
  if (place != Place::unknown) return place;
  if (operation == Operation::unpack) return toRegistry ? Place::registry : Place::node;
  return toRegistry ? Place::registry : Place::unknown;
}

Chain ChainReader::next() {
  chain_ = Chain{};
  chain_.operation = outer_;
  chain_.resolves = resolves(outer_);
  connected_ = ipv6_ = lookup_ = afterUrl_ = false;
  while (!scanner_.breaksAt(at_) && segment() == Goes::on) {
  }
  if (lookup_ && chain_.effect != Effect::unknown) chain_.effect = Effect::dns;
  at_ += scanner_.breakLength(at_);
  return chain_;
}

ChainReader::Goes ChainReader::segment() {
  const auto rest = scanner_.from(at_);
  if (rest.starts_with(kRpc)) {
    // One word, such as Unknown, or Code(17).
    const auto code = rest.substr(kRpc.size(), rest.find(' ', kRpc.size()) - kRpc.size());
    if (rest.substr(kRpc.size() + code.size()).starts_with(kRpcText)) {
      at_ += kRpc.size() + code.size() + kRpcText.size();
      return Goes::on;
    }
  }
  if (absent()) return Goes::end;
  if (lockedReference()) return Goes::end;
  if (fileOfThisNode()) return Goes::on;
  if (const auto* found = wrapperAt(scanner_, at_)) return wrapper(*found);
  if (const auto* found = endingAt(scanner_, at_)) {
    const bool foreign = found->match == Ending::Match::foreign;
    return ending(found->effect, foreign ? scanner_.text().size() : scanner_.lineEnd(at_));
  }
  if (wordsOfProxy()) return Goes::end;
  return unknownSegment();
}

ChainReader::Goes ChainReader::wrapper(const Wrapper& wrapper) {
  const auto behind = at_ + wrapper.words.size();
  const bool bareAddress = wrapper.kind == Wrapper::Kind::network;
  const auto end = scanner_.segmentEnd(behind, bareAddress ? Names::none : Names::reference);
  const auto segment = scanner_.text().substr(at_, end - at_);
  chain_.words = segment;
  afterUrl_ = false;
  switch (wrapper.kind) {
    case Wrapper::Kind::operation:
      does(wrapper.operation);
      chain_.ofPull = chain_.ofPull || wrapper.operation != Operation::plugin;
      break;
    case Wrapper::Kind::network:
    case Wrapper::Kind::tunnel:
      connected_ = chain_.toRegistry = chain_.ofPull = true;
      ipv6_ = wrapper.words.ends_with("tcp6") || scanner_.from(behind).starts_with(" [");
      break;
    case Wrapper::Kind::lookup:
      lookup_ = chain_.toRegistry = chain_.ofPull = true;
      break;
    case Wrapper::Kind::url:
      afterUrl_ = chain_.toRegistry = chain_.ofPull = true;
      chain_.url = segment.substr(wrapper.words.size() + 2);  // after the quotation mark
      break;
    case Wrapper::Kind::status:
      does(wrapper.operation);
      chain_.toRegistry = chain_.ofPull = true;
      pass(end);
      return status();
    case Wrapper::Kind::passes:
      break;
  }
  pass(end);
  return Goes::on;
}

/// The number decides. The phrase after it and the lines of the registry's error are the server's words.
ChainReader::Goes ChainReader::status() {
  const auto line = scanner_.foreignLineEnd(at_);
  const auto words = scanner_.text().substr(at_, line - at_);
  chain_.words = words;
  const auto number = statusAt(words);
  chain_.effect = number ? effectOfStatus(*number, chain_.operation) : Effect::unknown;
  const auto following = scanner_.from(line + scanner_.breakLength(line));
  const bool message =
      words.find("Server message:") != std::string_view::npos || beginsServerError(following);
  finishLine(message ? scanner_.text().size() : line);
  return Goes::end;
}

ChainReader::Goes ChainReader::ending(Effect effect, std::size_t end) {
  chain_.words = scanner_.text().substr(at_, scanner_.segmentEnd(at_, Names::reference) - at_);
  if (effect == Effect::policy) does(Operation::verifier);
  if (effect == Effect::no_ipv6 && !ipv6_) effect = Effect::unknown;
  if (effect == Effect::lost_packet && !connected_) effect = Effect::unknown;
  chain_.effect = effect;
  chain_.ofPull = chain_.ofPull || onlyOfPulls(effect);
  finishLine(end);
  return Goes::end;
}

/// "REFERENCE: not found" is the answer of the last host that was asked.
bool ChainReader::absent() {
  if (connected_ || placeOf(chain_.operation) == Place::node) return false;
  const auto rest = scanner_.from(at_);
  auto length = forms_.wholeBefore(rest, kNotFound);
  if (length == 0 && chain_.operation == Operation::resolve) {
    // A reference that the caller did not name, or that containerd spelled differently.
    length = rest.find(kNotFound);
    const auto name = rest.substr(0, length);
    if (length == std::string_view::npos || name.find('/') == std::string_view::npos ||
        name.find_first_of(" \"\n") != std::string_view::npos) {
      return false;
    }
  }
  if (length == 0) return false;
  chain_.words = kNotFound.substr(2);
  chain_.effect = Effect::not_found;
  chain_.ofPull = true;
  finishLine(scanner_.lineEnd(at_ + length));
  return true;
}

/// os.PathError and os.LinkError: "write /PATH: ERROR".
bool ChainReader::fileOfThisNode() {
  const auto rest = scanner_.from(at_);
  const auto word = std::find_if_not(rest.begin(), rest.end(),
                                     [](char c) { return (c >= 'a' && c <= 'z') || c == '_' || c == '/'; });
  const auto length = static_cast<std::size_t>(word - rest.begin());
  if (length == 0 || !rest.substr(length).starts_with(" /")) return false;
  if (placeOf(chain_.operation) != Place::node) does(Operation::content_store);
  const auto end = scanner_.segmentEnd(at_, Names::reference);
  chain_.words = scanner_.text().substr(at_, end - at_);
  pass(end);
  return true;
}

/// The content store's lock: another pull of this node writes the same blob.
bool ChainReader::lockedReference() {
  if (!scanner_.from(at_).starts_with("ref ")) return false;
  const auto end = scanner_.segmentEnd(at_, Names::reference);
  if (scanner_.text().substr(at_, end - at_).find(" locked") == std::string_view::npos) return false;
  does(Operation::lock);
  ending(Effect::undecided, scanner_.lineEnd(end));
  return true;
}

/// net/http returns the phrase of a proxy's answer to CONNECT as the whole error. Words that no library is
/// known to write can be a proxy's own, so nothing in them decides.
bool ChainReader::wordsOfProxy() {
  if (!afterUrl_) return false;
  auto line = scanner_.lineEnd(at_);
  const auto number = statusOfPhrase(scanner_.text().substr(at_, line - at_));
  if (!number) line = std::max(line, scanner_.foreignLineEnd(at_));
  chain_.words = scanner_.text().substr(at_, line - at_);
  chain_.effect = number ? effectOfStatus(*number, chain_.operation) : Effect::unknown;
  finishLine(line);
  return true;
}

ChainReader::Goes ChainReader::unknownSegment() {
  const auto end = scanner_.segmentEnd(at_, Names::reference);
  const auto words = scanner_.text().substr(at_, end - at_);
  if (!isClass(words)) chain_.words = words;
  afterUrl_ = false;
  pass(end);
  return Goes::on;
}

/// A fault of this node stays one, whatever is nested in it: a remote snapshotter quotes registries too.
void ChainReader::does(Operation operation) {
  if (operation == Operation::none) return;
  if (placeOf(chain_.operation) == Place::node && placeOf(operation) != Place::node) return;
  if (placeOf(operation) == Place::unknown && placeOf(chain_.operation) == Place::registry) return;
  chain_.operation = operation;
  chain_.resolves = chain_.resolves || resolves(operation);
  if (outer_ == Operation::none && placeOf(operation) != Place::node) outer_ = operation;
}

void ChainReader::pass(std::size_t end) {
  at_ = end;
  if (!scanner_.breaksAt(at_)) ++at_;
  while (at_ < scanner_.text().size() && scanner_.text()[at_] == ' ') ++at_;
}

void ChainReader::finishLine(std::size_t end) {
  at_ = end;
}

}  // namespace fallbackd::watcher
