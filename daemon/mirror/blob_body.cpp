// SPDX-License-Identifier: Apache-2.0
#include "mirror/blob_body.hpp"

#include <algorithm>

namespace fallbackd::mirror {

boost::asio::awaitable<Result<std::string>> BlobBody::next() {
  struct Turn {
    explicit Turn(std::shared_ptr<ReadTurns> given) : turns(std::move(given)) {}
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() { turns->end(); }
    std::shared_ptr<ReadTurns> turns;
  };
  co_await turns_->begin();
  const Turn turn(turns_);
  auto piece = co_await store_.read(digest_, at_, std::min(kPieceBytes, end_ - at_));
  if (!piece) co_return piece;
  at_ += static_cast<std::int64_t>(piece->size());
  count_(piece->size());
  co_return piece;
}

}  // namespace fallbackd::mirror
