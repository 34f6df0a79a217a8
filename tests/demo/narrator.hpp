// SPDX-License-Identifier: Apache-2.0
// Tells a person what happens: colours on a terminal, plain text elsewhere.
#pragma once

#include <string>
#include <vector>

namespace fallbackd::demo {

class Narrator {
 public:
  Narrator();

  /// "1  A pod whose image cannot be pulled"
  void chapter(const std::string& title);
  /// What is going on now; a slow step says so before it begins.
  void doing(const std::string& text);
  /// A fact that was seen.
  void seen(const std::string& text);
  /// Rows of label, milliseconds since the first and a bar to scale.
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
