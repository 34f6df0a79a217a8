// SPDX-License-Identifier: Apache-2.0
// Folders of our own. Everything that this project removes from a disk is removed below the descriptor of
// such a folder, by a single name. Removal takes no path, so a wrong one causes an error and nothing else.
// All calls block. Kernel 5.6.
#pragma once

#include "base/error.hpp"
#include "sys/fd.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <sys/types.h>

namespace fallbackd::sys {

/// A single component of a path: not empty, no slash, neither "." nor "..".
bool isSingleName(std::string_view name);

class OwnedFolder {
 public:
  /// Adopts an open folder. Reason unsafe_owner if it belongs to another user or others may write to it,
  /// unsafe_file_type if it is not a folder. `what` names it in messages.
  static Result<OwnedFolder> take(Stage stage, DirFd dir, std::string what);
  /// Opens `name` below `parent` without following a symlink or crossing a mount, and adopts it.
  static Result<OwnedFolder> open(Stage stage, const DirFd& parent, const std::string& name);
  /// The same, but creates it first if it is missing, accessible by its owner only.
  static Result<OwnedFolder> make(Stage stage, const DirFd& parent, const std::string& name);

  [[nodiscard]] const DirFd& dir() const { return dir_; }
  [[nodiscard]] const std::string& name() const { return what_; }

 private:
  OwnedFolder(DirFd dir, std::string what) : dir_(std::move(dir)), what_(std::move(what)) {}
  DirFd dir_;
  std::string what_;
};

/// Removes the file, or the folder with everything below it. Removes symlinks without following them. Never
/// touches another mount: reason not_permitted. A missing entry is fine. Reason unsafe_path if `name` is not
/// a single name.
Result<> removeTree(Stage stage, const OwnedFolder& folder, const std::string& name);

/// Removes one of our folders with everything below it from a folder that may be shared (/tmp). A missing
/// folder is fine.
Result<> removeOwned(Stage stage, const DirFd& parent, const std::string& name);

/// A new folder with a unique name, accessible by its owner only; removed with everything below it when the
/// object is destroyed.
class ScratchFolder {
 public:
  /// In the folder at `parent`, which may be shared (/tmp). The name begins with `prefix`.
  static Result<ScratchFolder> make(Stage stage, const std::string& parent, const std::string& prefix);
  ScratchFolder(ScratchFolder&& other) noexcept;
  ScratchFolder& operator=(ScratchFolder&&) = delete;
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder();

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const OwnedFolder& folder() const { return *folder_; }
  /// The folder stays, under whatever name it has by now.
  void release() { folder_.reset(); }

 private:
  ScratchFolder(DirFd parent, OwnedFolder folder, std::string path, std::string name);
  DirFd parent_;
  std::optional<OwnedFolder> folder_;
  std::string path_;
  std::string name_;
};

}  // namespace fallbackd::sys
