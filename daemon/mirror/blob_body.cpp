// SPDX-License-Identifier: Apache-2.0
#include "mirror/blob_body.hpp"

#include <algorithm>
#include <utility>

namespace fallbackd::mirror {

boost::asio::awaitable<Result<std::string>> BlobBody::next() {
  turn_ = ReadTurns::Turn();  // its client has taken the previous piece
  auto turn = co_await turns_->begin();
  turn_ = std::move(turn);
  auto piece = co_await store_.read(digest_, at_, std::min(kPieceBytes, end_ - at_));
  if (!piece) co_return piece;
  at_ += static_cast<std::int64_t>(piece->size());
  count_(piece->size());
  co_return piece;
}

}  // namespace fallbackd::mirror
