// SPDX-License-Identifier: Apache-2.0
#include "watcher/causes/texts.hpp"

#include <algorithm>
#include <array>

namespace fallbackd::watcher {

namespace {

bool endsWord(const Scanner& scanner, std::size_t at) {
  return scanner.breaksAt(at) || std::string_view(": \"").find(scanner.text()[at]) != std::string_view::npos;
}

/// A detail in brackets may follow, as in "context deadline exceeded (Client.Timeout exceeded ...)".
bool endsSegment(const Scanner& scanner, std::size_t at) {
  return scanner.breaksAt(at) || scanner.text()[at] == ':' || scanner.from(at).starts_with(" (") ||
         scanner.text()[at] == ';';
}

}  // namespace

const Wrapper* wrapperAt(const Scanner& scanner, std::size_t at) {
  const auto rest = scanner.from(at);
  for (const auto table : {containerdWrappers(), libraryWrappers()}) {
    const auto found = std::find_if(table.begin(), table.end(), [&](const Wrapper& one) {
      if (!rest.starts_with(one.words)) return false;
      const auto end = at + one.words.size();
      if (one.kind == Wrapper::Kind::url) return scanner.from(end).starts_with(" \"");
      if (one.kind == Wrapper::Kind::passes) return scanner.from(end).starts_with(':');
      return endsWord(scanner, end);
    });
    if (found != table.end()) return &*found;
  }
  return nullptr;
}

const Ending* endingAt(const Scanner& scanner, std::size_t at) {
  const auto rest = scanner.from(at);
  for (const auto table : {containerdEndings(), libraryEndings()}) {
    const auto found = std::find_if(table.begin(), table.end(), [&](const Ending& one) {
      return rest.starts_with(one.words) &&
             (one.match != Ending::Match::whole || endsSegment(scanner, at + one.words.size()));
    });
    if (found != table.end()) return &*found;
  }
  return nullptr;
}

}  // namespace fallbackd::watcher
