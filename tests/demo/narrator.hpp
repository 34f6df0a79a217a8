// SPDX-License-Identifier: Apache-2.0
// Narrates for people: in colour on a terminal, as plain text elsewhere.
#pragma once

#include <string>
#include <vector>

namespace fallbackd::demo {

class Narrator {
 public:
  Narrator();

  /// "1  A pod whose image cannot be pulled"
  void chapter(const std::string& title);
  /// What is about to happen; announces a slow step before it begins.
  void doing(const std::string& text);
  /// A fact that was observed.
  void seen(const std::string& text);
  /// Rows of label, milliseconds since the first row, and a bar to scale.
  struct Mark {
    std::string label;
    double millis;
  };
  void timeline(const std::vector<Mark>& marks);
  void table(const std::vector<std::pair<std::string, std::string>>& rows);
  /// A log line or other machine output.
  void quote(const std::string& text);
  void failure(const std::string& text);

 private:
  [[nodiscard]] std::string painted(const char* code, const std::string& text) const;
  bool colours_;
  int chapters_ = 0;
};

}  // namespace fallbackd::demo
