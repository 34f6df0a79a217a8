// SPDX-License-Identifier: Apache-2.0
// Splits the text of a pull error into chains of wrapped errors, one per line, and reads each.
#pragma once

#include "watcher/causes/http_status.hpp"
#include "watcher/causes/reference_forms.hpp"
#include "watcher/causes/scanner.hpp"
#include "watcher/causes/texts.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace fallbackd::watcher {

struct Chain {
  Operation operation = Operation::none;
  std::optional<Effect> effect;  // of the innermost error; empty where it is not known
  bool ofPull = false;
  bool toRegistry = false;  // it contains a connection or an HTTP request
  bool resolves = false;    // it is about the manifest's digest or about a token, not about content
  std::string_view url;     // of the innermost request; escaped as in the text
  std::string_view words;   // the innermost error's

  [[nodiscard]] Place place() const;
};

class ChainReader {
 public:
  /// Both must outlive the reader.
  ChainReader(const Scanner& scanner, const ReferenceForms& forms) : scanner_(scanner), forms_(forms) {}

  [[nodiscard]] bool done() const { return at_ >= scanner_.text().size(); }
  /// Reads the next line. An empty text gives an empty chain.
  Chain next();

 private:
  enum class Goes : std::uint8_t { on, end };

  Goes segment();
  Goes wrapper(const Wrapper& wrapper);
  Goes status();
  Goes ending(Effect effect, std::size_t end);
  Goes unknownSegment();
  bool absent();
  bool fileOfThisNode();
  bool lockedReference();
  bool wordsOfProxy();
  void does(Operation operation);
  void pass(std::size_t end);
  void finishLine(std::size_t end);

  const Scanner& scanner_;
  const ReferenceForms& forms_;
  std::size_t at_ = 0;
  Operation outer_ = Operation::none;  // what surrounds every line: the first operation of the first
  Chain chain_;
  bool connected_ = false;  // net.OpError
  bool ipv6_ = false;
  bool lookup_ = false;
  bool afterUrl_ = false;  // directly after url.Error
};

}  // namespace fallbackd::watcher
