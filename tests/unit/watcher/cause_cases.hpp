// SPDX-License-Identifier: Apache-2.0
// The table of pull errors, causes.tsv, and how its rows become texts. The rows have marks where containerd
// writes the reference or something derived from it, so that any reference can be put into every row.
#pragma once

#include "domain/cause.hpp"
#include "watcher/classify.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::watcher {

struct CauseCase {
  std::string name;
  std::string versions;  // the containerd or library that writes it
  int code = 0;
  std::optional<Cause> cause;  // empty: "none", probe again
  std::string text;            // with marks, without shorthands
};

/// Every row of the file; a row that cannot be read ends the test.
std::vector<CauseCase> causeCases();

/// How the reference is quoted: escaped as by Go, or unchanged.
enum class Quotes : std::uint8_t { escaped, bare };

/// The text as containerd would write it for this reference; the text may have marks and shorthands.
std::string expand(const std::string& text, const std::string& reference, Quotes quotes = Quotes::escaped);

std::optional<Cause> causeOf(const CauseCase& row, const std::string& reference,
                             Quotes quotes = Quotes::escaped);

/// A string as Go's %q writes it.
std::string goQuoted(std::string_view text);

std::string nameOf(std::optional<Cause> cause);

}  // namespace fallbackd::watcher
