// The version floor: of each name the version below which only the operator's configuration may run it, so
// that an older, validly signed binary cannot be brought back by anybody else. One JSON file and a copy of
// it, each replaced crash-safely and one after the other: whatever damages one of them, the other still knows
// the floor. Several processes may share the folder: the daemon and fallbackctl.
#pragma once

#include "base/binary_ref.hpp"
#include "base/error.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace fallbackd::cache {

class VersionFloor {
 public:
  enum class Mode : std::uint8_t { look, keep };

  static constexpr std::size_t kMaxNames = 65'536;

  /// The higher of the file and its copy. One that is damaged is reported through `warning`; with both
  /// damaged the floor starts again from nothing: torn files must not lock the node out. Where no file can be
  /// read although one is there, for want of permission or because it passes a limit, that is an error: the
  /// floor that it holds would be passed over. To keep: `folder` is made where it is missing, and a damaged
  /// file is set aside under another name, so that it is not lost silently either. To look: nothing on disk
  /// is touched.
  static Result<VersionFloor> open(const std::string& folder, Mode mode = Mode::keep);

  /// Reason version_rollback where the version is below the floor of its name.
  [[nodiscard]] Result<> check(const BinaryRef& ref) const;
  /// Raises the floor and writes it before it returns, together with what another process has written
  /// meanwhile. Reason floor_unwritable, also beyond kMaxNames.
  Result<> raise(const BinaryRef& ref);

  [[nodiscard]] const std::optional<std::string>& warning() const { return warning_; }

 private:
  Result<> readAll(Mode mode);
  Result<bool> readOne(const std::string& name, Mode mode);
  Result<> write(const std::map<std::string, std::string>& versions) const;
  void warn(const std::string& text);

  std::string folder_;
  std::map<std::string, std::string> versions_;
  std::optional<std::string> warning_;
};

}  // namespace fallbackd::cache
