// SPDX-License-Identifier: Apache-2.0
#include "config/problems.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace fallbackd::config {

std::string Position::toString() const {
  std::string text = file;
  if (line > 0) text.append(":").append(std::to_string(line)).append(":").append(std::to_string(column));
  return text;
}

std::string Diagnostic::toString() const {
  std::string text = Position{file, line, column}.toString() + ": " + message;
  if (!suggestion.empty()) text.append(" (").append(suggestion).append(")");
  return text;
}

void Problems::add(const Position& where, std::string message, std::string suggestion) {
  ++count_;
  if (full()) return;
  list_.push_back({where.file, where.line, where.column, std::move(message), std::move(suggestion)});
}

std::vector<Diagnostic> Problems::take() {
  std::map<std::string, std::size_t> ranks;
  for (const auto& one : list_) ranks.emplace(one.file, ranks.size());
  std::stable_sort(list_.begin(), list_.end(), [&](const auto& a, const auto& b) {
    return std::tuple(ranks[a.file], a.line, a.column) < std::tuple(ranks[b.file], b.line, b.column);
  });
  if (full()) list_.push_back({list_.back().file, 0, 0, "too many problems; the rest are not shown", ""});
  count_ = 0;
  return std::exchange(list_, {});
}

}  // namespace fallbackd::config
