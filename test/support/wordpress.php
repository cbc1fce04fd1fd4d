<?php
/**
 * As much of WordPress as examples/wordpress/tidemark.php calls: hooks, posts and terms in memory, real HTTP. Its
 * functions call the hooks in WordPress's own order. What one request does comes on standard input as JSON; what it
 * left for WP-Cron goes to standard output.
 */

define( 'ABSPATH', __DIR__ );
$request = json_decode( stream_get_contents( STDIN ), true );

/** Posts and terms, as rows of a table are kept: whoever is given one has a copy. */
class WP_Row {
	public function __construct( array $members ) {
		foreach ( $members as $name => $value ) {
			$this->$name = $value;
		}
	}
}
#[AllowDynamicProperties]
final class WP_Post extends WP_Row {}
#[AllowDynamicProperties]
final class WP_Term extends WP_Row {}
final class WP_Error {
	public $message;
	public function __construct( $message ) {
		$this->message = $message;
	}
	public function get_error_message() {
		return $this->message;
	}
}

$hooks     = array();
$scheduled = array();
$posts     = array();
$terms     = array();
foreach ( $request['posts'] as $row ) {
	$posts[ $row['ID'] ] = $row + array( 'post_parent' => 0, 'terms' => array() );
}
foreach ( $request['terms'] as $row ) {
	$terms[ $row['term_id'] ] = $row + array( 'term_taxonomy_id' => $row['term_id'] + 100 );
}

function add_action( $hook, $callback, $priority = 10, $arguments = 1 ) {
	$GLOBALS['hooks'][ $hook ][] = array( $callback, $arguments );
}
function do_action( $hook, ...$given ) {
	foreach ( isset( $GLOBALS['hooks'][ $hook ] ) ? $GLOBALS['hooks'][ $hook ] : array() as list( $callback, $arguments ) ) {
		$callback( ...array_slice( $given, 0, $arguments ) );
	}
}
function get_post( $post ) {
	if ( $post instanceof WP_Post ) {
		return $post;
	}
	return isset( $GLOBALS['posts'][ $post ] ) ? new WP_Post( $GLOBALS['posts'][ $post ] ) : null;
}
function get_post_type( $id ) {
	$post = get_post( $id );
	return $post ? $post->post_type : false;
}
function get_post_status_object( $status ) {
	return (object) array( 'public' => in_array( $status, array( 'publish', 'sold-out' ), true ) );
}
function get_permalink( $post ) {
	$post = get_post( $post );
	if ( in_array( $post->post_status, array( 'draft', 'pending', 'auto-draft', 'future' ), true ) ) {
		return "https://www.example.com/?p=$post->ID";
	}
	$parent = get_post( $post->post_parent );
	return 'https://www.example.com/' . ( $parent ? "$parent->post_name/" : '' ) . "$post->post_name/";
}
function get_children( $of ) {
	$is_child = function ( $post ) use ( $of ) {
		return $post['post_parent'] === $of['post_parent'];
	};
	return array_keys( array_filter( $GLOBALS['posts'], $is_child ) );
}
function is_post_type_hierarchical( $type ) {
	return 'page' === $type;
}
function is_taxonomy_hierarchical( $taxonomy ) {
	return 'category' === $taxonomy;
}
function get_object_taxonomies( $type ) {
	return 'post' === $type ? array( 'category', 'post_tag' ) : array();
}
function wp_get_object_terms( $id, $taxonomies ) {
	return array_map( 'get_term', isset( $GLOBALS['posts'][ $id ] ) ? $GLOBALS['posts'][ $id ]['terms'] : array() );
}
function get_term( $id ) {
	return isset( $GLOBALS['terms'][ $id ] ) ? new WP_Term( $GLOBALS['terms'][ $id ] ) : null;
}
function get_term_by( $field, $value, $taxonomy ) {
	foreach ( $GLOBALS['terms'] as $row ) {
		if ( $row[ $field ] === $value && $row['taxonomy'] === $taxonomy ) {
			return new WP_Term( $row );
		}
	}
	return false;
}
function get_term_link( $term ) {
	return "https://www.example.com/$term->taxonomy/$term->slug/";
}
function wp_parse_url( $url, $component ) {
	return parse_url( $url, $component );
}
function is_wp_error( $value ) {
	return $value instanceof WP_Error;
}
function wp_doing_cron() {
	return $GLOBALS['request']['isCron'];
}
function wp_generate_uuid4() {
	return bin2hex( random_bytes( 16 ) );
}
function wp_json_encode( $value, $flags ) {
	return json_encode( $value, $flags );
}
function wp_schedule_single_event( $time, $hook, $arguments ) {
	$GLOBALS['scheduled'][] = array( 'in' => $time - time(), 'hook' => $hook, 'arguments' => $arguments );
}
function wp_remote_post( $url, $options ) {
	$headers = array();
	foreach ( $options['headers'] as $name => $value ) {
		$headers[] = "$name: $value";
	}
	$http    = array(
		'method'          => 'POST',
		'header'          => $headers,
		'content'         => $options['body'],
		'timeout'         => $options['timeout'],
		'follow_location' => $options['redirection'],
		'ignore_errors'   => true,
	);
	$answer  = @file_get_contents( $url, false, stream_context_create( array( 'http' => $http ) ) );
	$details = $http_response_header ?? array();
	return false === $answer ? new WP_Error( 'no answer' ) : array( 'status' => (int) explode( ' ', $details[0] )[1] );
}
function wp_remote_retrieve_response_code( $response ) {
	return $response['status'];
}

/** @see wp_set_object_terms() */
function set_terms( $id, array $new ) {
	$old   = $GLOBALS['posts'][ $id ]['terms'];
	$GLOBALS['posts'][ $id ]['terms'] = $new;
	$of    = function ( $taxonomy, $ids ) {
		$rows = array_filter( array_map( 'get_term', $ids ), function ( $term ) use ( $taxonomy ) {
			return $term->taxonomy === $taxonomy;
		} );
		return array_column( $rows, 'term_taxonomy_id' );
	};
	foreach ( get_object_taxonomies( get_post_type( $id ) ) as $taxonomy ) {
		do_action( 'set_object_terms', $id, $new, $of( $taxonomy, $new ), $taxonomy, false, $of( $taxonomy, $old ) );
	}
}

/** @see wp_insert_post() */
function insert( array $row ) {
	$terms = isset( $row['terms'] ) ? $row['terms'] : array();
	$GLOBALS['posts'][ $row['ID'] ] = array( 'terms' => array() ) + $row + array( 'post_parent' => 0 );
	set_terms( $row['ID'], $terms );
	do_action( 'wp_after_insert_post', $row['ID'], get_post( $row['ID'] ), false, null );
}

/** @see wp_insert_post() */
function update( $id, array $changes ) {
	$before = get_post( $id );
	if ( 'trash' === ( isset( $changes['post_status'] ) ? $changes['post_status'] : '' ) ) {
		$GLOBALS['posts'][ $id ]['post_name'] .= '__trashed';
	}
	do_action( 'pre_post_update', $id, $changes );
	$terms = isset( $changes['terms'] ) ? $changes['terms'] : null;
	unset( $changes['terms'] );
	$GLOBALS['posts'][ $id ] = $changes + $GLOBALS['posts'][ $id ];
	if ( null !== $terms ) {
		set_terms( $id, $terms );
	}
	do_action( 'wp_after_insert_post', $id, get_post( $id ), true, $before );
}

/** @see wp_publish_post(), which runs when the time of a scheduled post has come */
function publish( $id ) {
	$before = get_post( $id );
	$GLOBALS['posts'][ $id ]['post_status'] = 'publish';
	do_action( 'wp_after_insert_post', $id, get_post( $id ), true, $before );
}

/** @see wp_delete_post(), wp_delete_attachment() */
function delete( $id ) {
	do_action( 'attachment' === get_post_type( $id ) ? 'delete_attachment' : 'before_delete_post', $id, get_post( $id ) );
	unset( $GLOBALS['posts'][ $id ] );
}

/** @see wp_insert_term() */
function insert_term( array $row ) {
	$GLOBALS['terms'][ $row['term_id'] ] = $row + array( 'term_taxonomy_id' => $row['term_id'] + 100 );
	do_action( 'created_term', $row['term_id'] );
}

/** @see wp_update_term() */
function update_term( $id, array $changes ) {
	do_action( 'edit_terms', $id );
	$GLOBALS['terms'][ $id ] = $changes + $GLOBALS['terms'][ $id ];
}

/** @see wp_delete_term() */
function delete_term( $id ) {
	do_action( 'pre_delete_term', $id );
	unset( $GLOBALS['terms'][ $id ] );
}

foreach ( $request['constants'] as $name => $value ) {
	define( $name, $value );
}
require __DIR__ . '/../../examples/wordpress/tidemark.php';
foreach ( $request['does'] as $call ) {
	$does = array_shift( $call );
	$does( ...$call );
}
do_action( 'shutdown' );
echo json_encode( $scheduled );
